"""The naive loop: one sequence, its own KV cache, no scheduler. What the batched, paged engine must agree with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from foveal.engine.runner import compute
from foveal.layers.attention.backends import attention_backend
from foveal.layers.attention.batch import AttentionBatch
from foveal.layers.pieces import finish
from foveal.layers.states import StateRows, StepStates, state_tensors
from foveal.models.family import CropRange, InputBatch, PlacedImage, SequenceSlice

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from foveal.models.family import Model
    from foveal.types import ImageLayout, Prompt

BLOCK_SIZE = 16


def naive_greedy(
    model: Model,
    prompt: Prompt,
    num_tokens: int,
    pixels: Sequence[NDArray[np.uint8]] = (),
    chunk_size: int | None = None,
) -> list[int]:
    """The `num_tokens` likeliest tokens after `prompt`; no token ends the run.

    pixels: what the processor prepared of each of the prompt's images, in order (so that tests need no arena).
    chunk_size: prompt tokens a forward; default: all at once.
    """
    run = NaiveRun(model, prompt, len(prompt.token_ids) + num_tokens, pixels)
    hidden = run.prefill(chunk_size)
    token_ids = [int(model.decoder.logits(hidden[-1:]).argmax())]
    while len(token_ids) < num_tokens:
        hidden = run.compute(token_ids[-1:])
        token_ids.append(int(model.decoder.logits(hidden).argmax()))
    return token_ids


class NaiveRun:
    """One sequence in progress, that may grow to `max_total_tokens`; `num_computed_tokens` of it are in `kv_cache`."""

    def __init__(
        self,
        model: Model,
        prompt: Prompt,
        max_total_tokens: int,
        pixels: Sequence[NDArray[np.uint8]] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.positions = model.decoder.positions(prompt, max_total_tokens)
        self.images = tuple(
            PlacedImage(encode(model, prepared, image.image.layout), image.spans)
            for image, prepared in zip(prompt.images, pixels, strict=True)
        )
        self.num_computed_tokens = 0
        self.block_table = list(range(-(-max_total_tokens // BLOCK_SIZE)))
        num_layers, num_kv_heads, head_dim = model.decoder.kv_shape
        shape = (num_layers, 2, len(self.block_table), BLOCK_SIZE, num_kv_heads, head_dim)
        self.kv_cache = torch.zeros(shape, dtype=dtype)
        self.states = state_tensors(model.decoder.state_shapes, 1, dtype, self.kv_cache.device)

    def prefill(self, chunk_size: int | None = None) -> torch.Tensor:
        """Compute what is left of the prompt, `chunk_size` tokens at a time: hidden states [rest, hidden]."""
        rest = self.prompt.token_ids[self.num_computed_tokens :]
        size = chunk_size or len(rest)
        return torch.cat([self.compute(rest[i : i + size]) for i in range(0, len(rest), size)])

    @torch.inference_mode()
    def compute(self, token_ids: Sequence[int]) -> torch.Tensor:
        """One forward over the sequence's next tokens: hidden states [len(token_ids), hidden]."""
        start, end = self.num_computed_tokens, self.num_computed_tokens + len(token_ids)
        self.num_computed_tokens = end
        slots = [self.block_table[t // BLOCK_SIZE] * BLOCK_SIZE + t % BLOCK_SIZE for t in range(start, end)]
        batch = InputBatch(
            token_ids_T=torch.tensor(token_ids),
            positions_RT=self._positions(start, end),
            slices=(SequenceSlice(row=0, num_tokens=end - start, start=start, images=self.images),),
            attention=AttentionBatch(
                [0, end - start],
                [end],
                [self.block_table],
                slots,
                BLOCK_SIZE,
                self._two_way_spans(),
                self.model.traits.spans_need_window,
            ),
        )
        attention = attention_backend(self.kv_cache.device, self.kv_cache.dtype)
        states = self.states and StepStates(self.states, [StateRows(0, end - start, 0, is_fresh=start == 0)])
        hidden = compute(self.model, batch, attention, self.kv_cache, states=states or None)
        if states:
            states.commit()
        return hidden

    def _two_way_spans(self) -> list[list[tuple[int, int]]]:
        whole = self.images if self.model.traits.whole_spans else ()
        return [[(span.offset, span.end) for image in whole for span in image.spans]]

    def _positions(self, start: int, end: int) -> torch.Tensor:
        of_prompt = torch.from_numpy(self.positions.prompt)
        generated = torch.arange(of_prompt.shape[1], max(end, of_prompt.shape[1])) + self.positions.delta
        return torch.cat([of_prompt, generated.expand(len(of_prompt), -1)], dim=1)[:, start:end]


@torch.inference_mode()
def encode(model: Model, pixels: NDArray[np.uint8], layout: ImageLayout) -> torch.Tensor:
    """One image's features, all of its crops in one forward."""
    assert model.images is not None
    [crops] = finish(model.images.encode_crops([CropRange(torch.from_numpy(pixels), layout, 0, layout.num_crops)]))
    return finish(model.images.assemble(layout, crops))
