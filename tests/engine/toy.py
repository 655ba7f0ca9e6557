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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from foveal.arena import PixelArena
from foveal.config import EngineConfig
from foveal.engine.engine import Engine
from foveal.engine.loading import build_engine
from foveal.engine.protocol import Submit
from foveal.engine.resolve import Capacity, StateRoom
from foveal.layers.pieces import Pieces, at_once, finish
from foveal.layers.step import AfterLayer, KVShape, Positions, StateShape, StepContext
from foveal.models.family import CropRange, ImageTraits, Model, SequenceSlice
from foveal.models.features import place_features
from foveal.types import Image, ImageLayout, ImageSpan, PixelRef, Prompt, PromptImage, SamplingParams, Size, Token

VOCAB_SIZE = 64
FAILING, NAN, HANGING, DEADLY = 60, 61, 62, 63  # tokens that make the model raise, err, hang, kill its process
ERRS = -1  # what stands for NAN among the embeddings
ONE_NUMBER = KVShape(num_layers=1, num_kv_heads=1, head_dim=1)
USUAL = ImageTraits()
GREEDY = SamplingParams(temperature=0.0, max_tokens=8)
LOADER = "tests.engine.toy:load_toy"


@dataclass
class ToyDecoder:
    """See the module's docstring. Two position rows; generated tokens are at t + 5. A hidden state is a number."""

    kv_shape: KVShape = ONE_NUMBER
    state_shapes: Sequence[StateShape] = ()
    max_model_len: int = 512
    vocab_size: int = VOCAB_SIZE
    windows: tuple[int | None, ...] = (None,)
    step_s: float = 0.0  # a step takes so long
    on_tokens: Callable[[int], None] = lambda _: None
    num_computed_tokens: int = 0

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        return Positions(np.stack([np.arange(len(prompt.token_ids))] * 2), delta=5)

    def embed(self, token_ids_T: torch.Tensor) -> torch.Tensor:
        """A token's embedding is its id; one that makes the model err has a number that no other has."""
        time.sleep(self.step_s)
        _misbehave(token_ids_T.tolist())
        return torch.where(token_ids_T == NAN, ERRS, token_ids_T).double()[:, None]

    def decode(self, x_T1: torch.Tensor, step: StepContext) -> torch.Tensor:
        self.num_computed_tokens += len(x_T1)
        self.on_tokens(len(x_T1))
        keys, values = step.kv_cache[0].view(2, -1)
        slots = torch.tensor(step.attention.slot_mapping)
        keys[slots] = step.positions_RT.sum(dim=0).to(keys.dtype)
        values[slots] = x_T1[:, 0].to(values.dtype)
        states_T1 = torch.cat([_states(i, step) for i in range(len(step.attention.seq_lens))])
        states_T1[x_T1 == ERRS] = torch.nan
        return step.after_layer(0, states_T1) if step.after_layer else states_T1

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        token_ids_V = torch.arange(VOCAB_SIZE)
        logits = ((hidden * (token_ids_V + 3) + token_ids_V * token_ids_V * 31) % 101).float()
        logits[:, FAILING:] = torch.where(logits[:, FAILING:].isnan(), torch.nan, -torch.inf)  # it never says these
        return logits


def _states(i: int, step: StepContext) -> torch.Tensor:
    """[num_tokens, 1]: for each row the sum over all tokens up to it, read from the sequence's blocks."""
    attention = step.attention
    num_rows, seq_len = attention.query_start_loc[i + 1] - attention.query_start_loc[i], attention.seq_lens[i]
    cached = step.kv_cache[0, :, list(attention.block_tables[i])].reshape(2, -1)[:, :seq_len].double()
    states = ((cached[0] + 1) * (cached[1] + 1)).cumsum(dim=0) % 7919
    return states[seq_len - num_rows :, None]


@dataclass
class ToyImages:
    """See the module's docstring. Where images are read again, a state counts what its row has seen of them."""

    traits: ImageTraits = USUAL
    num_encoded_crops: int = 0
    crops_of_runs: list[int] = field(default_factory=list)
    on_piece: Callable[[], None] = lambda: None

    def encode_crops(self, work: Sequence[CropRange]) -> Pieces[list[torch.Tensor]]:
        """Two pieces for each crop: what is read is read in the first."""
        crops = [part.pixels[part.start : part.stop].sum(dim=1).double() for part in work]
        if any((part.pixels == FAILING).all() for part in work):
            raise ValueError("a picture of nothing but 60")
        num_crops = sum(map(len, crops))
        self.crops_of_runs.append(num_crops)
        self.num_encoded_crops += num_crops
        for _ in range(2 * num_crops - 1):
            self.on_piece()
            yield
        self.on_piece()
        return crops

    def assemble(self, layout: ImageLayout, crops: torch.Tensor) -> Pieces[torch.Tensor]:
        rows = crops @ torch.arange(1, len(crops) + 1).double() + 7 * torch.arange(layout.num_tokens)
        return at_once((rows % 997).unsqueeze(1))

    def place(self, x_T1: torch.Tensor, slices: Sequence[SequenceSlice]) -> AfterLayer | None:
        if self.traits.whole_spans:
            _check_spans(slices)
        place_features(x_T1, slices)
        if not self.traits.rereads_images:
            return None
        seen = [_seen(piece, piece.start + row) for piece in slices for row in range(piece.num_tokens)]
        return lambda layer, states_T1: states_T1 + torch.tensor(seen)[:, None]


def _seen(piece: SequenceSlice, position: int) -> float:
    return sum(float(_there(image.features).sum()) for image in piece.images if image.spans[0].offset <= position)


def _check_spans(slices: Sequence[SequenceSlice]) -> None:
    for piece in slices:
        cuts = piece.start, piece.start + piece.num_tokens
        spans = [span for image in piece.images for span in image.spans]
        if any(span.offset < cut < span.end for span in spans for cut in cuts):
            raise ValueError("a span is cut")


def toy_model(traits: ImageTraits = USUAL, step_s: float = 0.0) -> Model:
    return Model(ToyDecoder(step_s=step_s), ToyImages(traits))


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


def load_toy(folder: str, device: torch.device, dtype: torch.dtype, *others: object) -> Model:
    """What an engine process is told to load instead of a checkpoint."""
    settings = json.loads((Path(folder) / "config.json").read_text("utf-8"))
    return toy_model(step_s=settings.get("step_s", 0.0))


def die(*_: object) -> Model:
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


def expected_tokens(prompt: Prompt, num_tokens: int, arena: PixelArena, traits: ImageTraits = USUAL) -> list[int]:
    """The greedy tokens by the definition, with neither cache nor batch."""
    decoder, images = ToyDecoder(), ToyImages(traits)
    values = [float(token_id) for token_id in prompt.token_ids]
    seen = 0.0
    for image in prompt.images:
        crops = torch.from_numpy(arena.view(image.image.pixels)).sum(dim=1).double()
        features = finish(images.assemble(image.image.layout, crops)).flatten().tolist()
        seen += sum(features) if traits.rereads_images else 0
        for span in image.spans:
            values[span.offset : span.end] = features[: span.length]
            features = features[span.length :]
    output: list[int] = []
    while len(output) < num_tokens:
        positions = [2 * at + (10 if at >= len(prompt.token_ids) else 0) for at in range(len(values))]
        state = sum((p + 1) * (v + 1) for p, v in zip(positions, values, strict=True)) % 7919 + seen
        output.append(int(decoder.logits(torch.tensor([[state]], dtype=torch.float64)).argmax()))
        values.append(output[-1])
    return output


# --- an engine to ask -------------------------------------------------------------------------------------------------


class ToyEngine:
    """An engine over a toy model, stepped by hand, that keeps what came of each request."""

    def __init__(
        self,
        traits: ImageTraits = USUAL,
        decoder: ToyDecoder | None = None,
        num_snapshots: int = 0,
        /,
        *,
        num_blocks: int = 256,
        **settings: float,
    ) -> None:
        self.decoder, self.images = decoder or ToyDecoder(), ToyImages(traits)
        model = Model(self.decoder, self.images)
        self.arena = PixelArena.create(1 << 16)
        config = EngineConfig(**{"block_size": 4, "max_num_seqs": 16, **settings})  # type: ignore[arg-type]  # all numbers
        states = StateRoom(config.max_num_seqs, num_snapshots) if self.decoder.state_shapes else None
        capacity = Capacity(num_blocks, self.decoder.max_model_len, states)
        self.engine: Engine = build_engine(model, config, self.arena, capacity, torch.device("cpu"), torch.float32)
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
