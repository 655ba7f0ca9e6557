"""A toy model whose next token depends, through the KV cache, on every token, position and image row before it.

Arithmetic is in whole numbers, so that its tokens are the same however the work is batched and cut, and wrong as soon
as the engine mixes up a block, a slot, a position or an image. `expected_tokens` says what is right without any cache.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from foveal.arena import PixelArena
from foveal.config import EngineConfig
from foveal.engine.engine import Engine
from foveal.engine.loading import build_engine
from foveal.engine.protocol import Submit
from foveal.models.family import CropRange, InputBatch, KVShape, Positions, SequenceSlice, feature_rows
from foveal.types import Image, ImageLayout, ImageSpan, PixelRef, Prompt, PromptImage, SamplingParams, Size, Token

VOCAB_SIZE = 64
FAILING, NAN, HANGING, DEADLY = 60, 61, 62, 63  # tokens that make the model raise, err, hang, kill its process
ONE_NUMBER = KVShape(num_layers=1, num_kv_heads=1, head_dim=1)
GREEDY = SamplingParams(temperature=0.0, max_tokens=8)
LOADER = "tests.engine.toy:load_toy"


@dataclass
class ToyModel:
    """See the module's docstring. Two position rows; generated tokens are at t + 5."""

    splits_images: bool = True
    whole_spans: bool = False
    rereads_images: bool = False
    max_model_len: int = 512
    step_s: float = 0.0  # a step takes so long
    kv_shape: KVShape = ONE_NUMBER
    vocab_size: int = VOCAB_SIZE
    num_encoded_crops: int = 0
    num_computed_tokens: int = 0
    crops_of_steps: list[int] = field(default_factory=list)

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        return Positions(np.stack([np.arange(len(prompt.token_ids))] * 2), delta=5)

    def encode_crops(self, work: Sequence[CropRange]) -> list[torch.Tensor]:
        crops = [part.pixels[part.start : part.stop].sum(dim=1).double() for part in work]
        if any((part.pixels == FAILING).all() for part in work):
            raise ValueError("a picture of nothing but 60")
        self.crops_of_steps.append(sum(map(len, crops)))
        self.num_encoded_crops += self.crops_of_steps[-1]
        return crops

    def assemble(self, layout: ImageLayout, crops: torch.Tensor) -> torch.Tensor:
        return (crops @ torch.arange(1, len(crops) + 1).double() + 7 * torch.arange(layout.num_tokens)) % 997

    def forward(self, batch: InputBatch, kv_cache: torch.Tensor) -> torch.Tensor:
        time.sleep(self.step_s)
        _misbehave(batch.token_ids_T.tolist())
        self.num_computed_tokens += len(batch.token_ids_T)
        values_T = batch.token_ids_T.to(kv_cache.dtype)
        for piece in batch.slices:
            self._check_spans(piece)
            for row, features in feature_rows(piece):
                values_T[row : row + len(features)] = features.to(kv_cache.dtype)
        keys, values = kv_cache[0].view(2, -1)
        keys[batch.attention.slot_mapping_T] = batch.positions_RT.sum(dim=0).to(kv_cache.dtype)
        values[batch.attention.slot_mapping_T] = values_T
        return torch.cat([self._states(i, piece, batch, kv_cache) for i, piece in enumerate(batch.slices)])

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        token_ids_V = torch.arange(VOCAB_SIZE)
        logits = ((hidden * (token_ids_V + 3) + token_ids_V * token_ids_V * 31) % 101).float()
        logits[:, FAILING:] = torch.where(logits[:, FAILING:].isnan(), torch.nan, -torch.inf)  # it never says these
        return logits

    def _states(self, i: int, piece: SequenceSlice, batch: InputBatch, kv_cache: torch.Tensor) -> torch.Tensor:
        """[num_tokens, 1]: for each row the sum over all tokens up to it, read from the sequence's blocks."""
        attention = batch.attention
        cached = kv_cache[0, :, list(attention.block_tables[i])].reshape(2, -1)[:, : attention.seq_lens[i]].double()
        states = ((cached[0] + 1) * (cached[1] + 1)).cumsum(dim=0)[piece.start :] % 7919
        if self.rereads_images:
            states += torch.tensor([self._seen(piece, at) for at in range(piece.start, attention.seq_lens[i])])
        states[(batch.token_ids_T == NAN)[piece.row : piece.row + piece.num_tokens]] = torch.nan
        return states.unsqueeze(1)

    def _seen(self, piece: SequenceSlice, position: int) -> float:
        return sum(float(_there(image.features).sum()) for image in piece.images if image.spans[0].offset <= position)

    def _check_spans(self, piece: SequenceSlice) -> None:
        stop = piece.start + piece.num_tokens
        for span in (span for image in piece.images for span in image.spans if self.whole_spans):
            if any(span.offset < cut < span.end for cut in (piece.start, stop)):
                raise ValueError("a span is cut")


def _there(features: torch.Tensor | None) -> torch.Tensor:
    if features is None:
        raise ValueError("features are missing")
    return features


def _misbehave(token_ids: list[int]) -> None:
    if FAILING in token_ids:
        raise ValueError("a token of 60")
    if HANGING in token_ids:
        time.sleep(3600)
    if DEADLY in token_ids:
        os.kill(os.getpid(), signal.SIGKILL)


def load_toy(folder: str, device: torch.device, dtype: torch.dtype, on_progress: object) -> ToyModel:
    """What an engine process is told to load instead of a checkpoint."""
    settings = json.loads((Path(folder) / "config.json").read_text("utf-8"))
    return ToyModel(step_s=settings.get("step_s", 0.0))


def die(*_: object) -> ToyModel:
    """A loader that takes its process with it."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def write_toy(folder: Path, **settings: object) -> str:
    """A checkpoint folder for `load_toy`."""
    (folder / "config.json").write_text(json.dumps({"model_type": "toy", **settings}), "utf-8")
    return str(folder)


# --- what is asked ----------------------------------------------------------------------------------------------------


def picture(arena: PixelArena, seed: int, num_crops: int = 1, num_tokens: int = 4, value: int | None = None) -> Image:
    """An image of random pixels (or of one value), put into the arena at a place of its own."""
    layout = ImageLayout(Size(1, 1), (num_crops, 3), (), num_crops, num_tokens)
    pixels = PixelRef(seed * 256, layout.pixel_shape)
    random = np.random.default_rng(seed).integers(0, 50, layout.pixel_shape, np.uint8)
    arena.view(pixels)[:] = random if value is None else value
    return Image(bytes([seed]) * 32, pixels, layout)


def prompt_of(*parts: int | Sequence[int] | Image, cache_salt: bytes = b"") -> Prompt:
    """A prompt of token ids and images, each image's rows in one span of token 0."""
    token_ids: list[int] = []
    images = []
    for part in parts:
        if isinstance(part, Image):
            images.append(PromptImage(part, (ImageSpan(len(token_ids), part.layout.num_tokens),)))
            token_ids += [0] * part.layout.num_tokens
        else:
            token_ids += [part] if isinstance(part, int) else part
    return Prompt(tuple(token_ids), tuple(images), cache_salt)


def text(length: int, seed: int = 0) -> list[int]:
    """Random token ids, none of which misbehaves."""
    return [int(token_id) for token_id in np.random.default_rng(seed).integers(1, FAILING, length)]


def expected_tokens(prompt: Prompt, num_tokens: int, arena: PixelArena, model: ToyModel | None = None) -> list[int]:
    """The greedy tokens by the definition, with neither cache nor batch."""
    model = model or ToyModel()
    values = [float(token_id) for token_id in prompt.token_ids]
    seen = 0.0
    for image in prompt.images:
        crops = torch.from_numpy(arena.view(image.image.pixels)).sum(dim=1).double()
        features = model.assemble(image.image.layout, crops).tolist()
        seen += sum(features) if model.rereads_images else 0
        for span in image.spans:
            values[span.offset : span.end] = features[: span.length]
            features = features[span.length :]
    output: list[int] = []
    while len(output) < num_tokens:
        positions = [2 * at + (10 if at >= len(prompt.token_ids) else 0) for at in range(len(values))]
        state = sum((p + 1) * (v + 1) for p, v in zip(positions, values, strict=True)) % 7919 + seen
        output.append(int(model.logits(torch.tensor([[state]], dtype=torch.float64)).argmax()))
        values.append(output[-1])
    return output


# --- an engine to ask -------------------------------------------------------------------------------------------------


class ToyEngine:
    """An engine over a toy model, stepped by hand, that keeps what came of each request."""

    def __init__(self, model: ToyModel | None = None, num_blocks: int = 256, **settings: int) -> None:
        self.model = model or ToyModel()
        self.arena = PixelArena.create(1 << 16)
        config = EngineConfig(**{"block_size": 4, "max_num_seqs": 16, **settings})  # type: ignore[arg-type]  # all ints
        self.engine: Engine = build_engine(
            self.model, config, self.arena, num_blocks, self.model.max_model_len, torch.device("cpu"), torch.float32
        )
        self.tokens: defaultdict[int, list[Token]] = defaultdict(list)
        self.ends: defaultdict[int, list[str]] = defaultdict(list)  # the terminal events of each request
        self._num_requests = 0

    def add(self, prompt: Prompt, sampling: SamplingParams = GREEDY, output: Sequence[int] = ()) -> int:
        self._num_requests += 1
        self.engine.add(Submit(self._num_requests, prompt, sampling, tuple(output)))
        return self._num_requests

    def step(self) -> None:
        done = self.engine.step()
        for sequence_id, token in done.tokens:
            self.tokens[sequence_id].append(token)
            if token.finish_reason:
                self.ends[sequence_id].append(token.finish_reason)
        for sequence_id, why in done.failed:
            self.ends[sequence_id].append(why)
        for sequence_id in done.aborted:
            self.ends[sequence_id].append("aborted")
        self.engine.check_integrity()

    def finish(self, max_num_steps: int = 10_000) -> None:
        """Step until there is nothing left to do."""
        for _ in range(max_num_steps):
            if self.engine.is_idle:
                return
            self.step()
        raise TimeoutError("the engine does not come to an end")

    def answer(self, prompt: Prompt, sampling: SamplingParams = GREEDY) -> list[int]:
        """The tokens for one prompt, asked alone."""
        sequence_id = self.add(prompt, sampling)
        self.finish()
        return self.token_ids(sequence_id)

    def token_ids(self, sequence_id: int) -> list[int]:
        return [token.token_id for token in self.tokens[sequence_id]]
