"""Carries out a step's chunks: runs the model, draws tokens. Owns the tensors of keys, values and states.

It decides nothing. A batch that raises is run again one item at a time, so that only the items that raise fail. To
write a token's keys and values twice does no harm. A state depends on the one before it, so states are written last.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from foveal.engine.batch import build_batch, state_rows
from foveal.engine.prompt_logprobs import prompt_logprobs
from foveal.engine.sampler import Draw, Row, sample
from foveal.errors import ConfigError
from foveal.layers.attention.backends import attention_backend
from foveal.layers.native.decoder import NativeDecoder, native_decoder
from foveal.layers.states import StepStates, state_tensors
from foveal.layers.step import StepContext
from foveal.types import PromptLogprob

if TYPE_CHECKING:
    from foveal.engine.encoder_cache import EncoderCache
    from foveal.engine.resolve import Capacity
    from foveal.engine.scheduler import Chunk
    from foveal.layers.attention.batch import AttentionBackend
    from foveal.models.family import InputBatch, Model

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Computed(NamedTuple):
    """The results of one chunk."""

    draw: Draw | None  # the next token, if the chunk is its sequence's last one
    prompt_logprobs: dict[int, PromptLogprob]  # by position


class Runner:
    """One model on one device, with the keys and values of all its sequences."""

    def __init__(
        self,
        model: Model,
        encoder_cache: EncoderCache,
        capacity: Capacity,
        block_size: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.model = model
        self.encoder_cache = encoder_cache
        self.block_size = block_size
        self.device = device
        self.attention = attention_backend(device, dtype)
        num_layers, num_kv_heads, head_dim = model.decoder.kv_shape
        shape = (num_layers, 2, capacity.num_blocks, block_size, num_kv_heads, head_dim)
        self.kv_cache = allocate(shape, dtype, device)
        num_states = capacity.states.num_slots + capacity.states.num_snapshots if capacity.states else 0
        self.states = state_tensors(model.decoder.state_shapes, num_states, dtype, device)
        self.native = native_decoder(model.decoder, self.kv_cache, block_size)

    @torch.inference_mode()
    def copy_states(self, copies: Mapping[int, int]) -> None:
        """Let slots of sequences (the keys) begin with what is in slots of snapshots (the values)."""
        for tensor in self.states if copies else ():
            tensor[:, [*copies]] = tensor[:, [*copies.values()]]

    @torch.inference_mode()
    def run(self, chunks: Seq[Chunk]) -> list[Computed | Exception]:
        """Compute the chunks; returns the result of each, or the exception that it raised."""
        return one_by_one_if_need_be(self._run_all, chunks)

    def _run_all(self, chunks: Seq[Chunk]) -> list[Computed | Exception]:
        batch = build_batch(chunks, self.encoder_cache, self.block_size, self.model.traits, self.device)
        states = StepStates(self.states, state_rows(chunks)) if self.states else None
        hidden = compute(self.model, batch, self.attention, self.kv_cache, self.native, states)
        logits_of = (self.native or self.model.decoder).logits
        ends = batch.attention.query_start_loc
        of_prompts = [
            prompt_logprobs(chunk, hidden[ends[i] : ends[i + 1]], logits_of) for i, chunk in enumerate(chunks)
        ]
        results: list[Computed | Exception] = [Computed(None, found) for found in of_prompts]
        last = [i for i, chunk in enumerate(chunks) if chunk.is_last]
        if last:
            logits = logits_of(hidden[torch.tensor([ends[i + 1] - 1 for i in last], device=self.device)])
            rows = [_row(chunks[i]) for i in last]
            for i, draw in zip(last, sample(logits, rows), strict=True):
                results[i] = Computed(draw, of_prompts[i]) if draw else FloatingPointError("the logits are not finite")
        if states:
            states.commit()
        return results


def allocate(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A KV cache, which takes up memory as it is written. Raises ConfigError if the device cannot promise so much."""
    try:
        return torch.empty(shape, dtype=dtype, device=device)
    except RuntimeError as error:
        num_bytes = math.prod(shape) * dtype.itemsize
        raise ConfigError(
            f"{device.type} has no memory for a KV cache of {num_bytes:,} bytes: lower engine.kv_cache_bytes"
        ) from error


def compute(
    model: Model,
    batch: InputBatch,
    attention: AttentionBackend,
    kv_cache: Tensor,
    native: NativeDecoder | None = None,
    states: StepStates | None = None,
) -> Tensor:
    """One step: hidden states [T, hidden]; keys and values are written into `kv_cache`. Attention is planned once.

    native: the same decoder over the same cache in native code, for the steps that it covers.
    states: of a hybrid model, still to be committed.
    """
    x_TW = model.decoder.embed(batch.token_ids_T)
    after_layer = model.images.place(x_TW, batch.slices) if model.images else None
    if native and native.covers(batch.attention, after_layer):
        return native.decode(x_TW, batch.positions_RT, batch.attention)
    attends = attention.plan(batch.attention, model.decoder.windows)
    step = StepContext(batch.positions_RT, batch.attention, attends, kv_cache, after_layer, states, batch.token_ids_T)
    return model.decoder.decode(x_TW, step)


def one_by_one_if_need_be(run: Callable[[Seq[Item]], list[Result]], items: Seq[Item]) -> list[Result | Exception]:
    """`run(items)`. If that raises, `run` each item alone; the result of an item that raises is its exception."""
    try:
        return [*run(items)] if items else []
    except Exception as error:  # any failure of one item must not fail the others
        if len(items) == 1:
            log.warning("one request failed in the engine", exc_info=error)
            return [error]
        return [result for item in items for result in one_by_one_if_need_be(run, [item])]


def _row(chunk: Chunk) -> Row:
    """Raises GrammarError."""
    sequence = chunk.sequence
    row = Row(sequence.sampling, sequence.token_ids, sequence.num_prompt_tokens, sequence.mirostat_mu)
    if sequence.guide is None:
        return row
    return row._replace(allowed_V=torch.from_numpy(sequence.guide.allowed()), closing=sequence.guide.closing)
