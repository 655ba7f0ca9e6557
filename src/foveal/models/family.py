"""The contract of a model family: what a folder under models/ provides, and nothing about how.

A family is two modules. `processor.py` (numpy and Pillow; beside the HTTP server and in the image workers) provides a
`Processor`. `model.py` (torch; in the engine) provides a `Model`. This file imports no torch at run time, so that the
server can import it.

What the contract carries, and which family needs it:
  * one feature tensor an image, whose rows and columns mean what the family says (a row for each span position; for
    Llama 3.2 Vision cross-attention states; for Qwen3-VL the deep-stack features side by side on the last axis);
  * several spans for one image (Idefics3: tiles with text between);
  * positions of several rows (Qwen: time, height, width) and position variants that make cached keys differ
    (Phi-3's short and long rope);
  * images that later tokens still look at (Llama 3.2 Vision), spans that one step must not cut (Gemma 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from foveal.types import Detail, ImageLayout, ImageSpan, Placeholder, Prompt, Size

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from foveal.layers.attention import AttentionBatch
    from foveal.layers.rope import Rope


# --- beside the server ------------------------------------------------------------------------------------------------


class Processor(Protocol):
    """A drawing: image -> crops -> tokens. Built from the checkpoint's JSON files; immutable, cheap to copy."""

    @property
    def fingerprint(self) -> str:
        """Names every setting that changes pixels or token counts; part of each image's hash."""

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """How an image of this size is cut. The one place that decides how many tokens an image takes.

        Raises InvalidImageSize with a sentence for the client where the family cannot take the size.
        """

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The RGB picture, cut and resized as `layout` says: uint8 of shape `layout.pixel_shape`."""

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        """The token ids that stand for the image in the prompt, separators included."""


class InvalidImageSize(ValueError):
    """`Processor.layout` cannot take this size; the message is a sentence for the client."""


# --- in the engine ----------------------------------------------------------------------------------------------------


class KVShape(NamedTuple):
    """What one token keeps in the KV cache."""

    num_layers: int
    num_kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class Positions:
    """Rotary positions of one sequence. Token t of the prompt is at prompt[:, t]; a generated one is at t + delta."""

    prompt: NDArray[np.int64]  # [rows, num_prompt_tokens]
    delta: int = 0
    variant: int = 0  # sequences of different variants compute different keys and share no KV blocks


@dataclass(frozen=True, slots=True)
class CropRange:
    """A step's share of one image's encoder work: crops [start, stop)."""

    pixels: torch.Tensor  # uint8, ImageLayout.pixel_shape, the whole image
    layout: ImageLayout
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image of a running sequence: its features (None while they are not needed) and where they stand."""

    features: torch.Tensor | None
    spans: tuple[ImageSpan, ...]  # positions in the sequence


@dataclass(frozen=True, slots=True)
class SequenceSlice:
    """The part of one sequence that a step computes: `num_tokens` batch rows from `row`, positions from `start`."""

    row: int
    num_tokens: int
    start: int  # position in the sequence of the first one
    images: tuple[PlacedImage, ...]


@dataclass(frozen=True, slots=True)
class InputBatch:
    """One step's input. Letters: T tokens in the step, R position rows, S sequences in the step."""

    token_ids_T: torch.Tensor  # int64
    positions_RT: torch.Tensor  # int64
    slices: tuple[SequenceSlice, ...]  # S of them, in row order
    attention: AttentionBatch


class Model(Protocol):
    """A loaded checkpoint. Stateless between calls: the engine owns every cache."""

    kv_shape: KVShape
    max_model_len: int
    vocab_size: int
    splits_images: bool  # crops are independent: an image may be encoded over several steps
    whole_spans: bool  # tokens of a span see each other: one step computes all of it
    rereads_images: bool  # features are read at every later step, not only where they stand

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        """Rotary positions of a new sequence that may grow to `max_total_tokens`."""

    def encode_crops(self, work: Sequence[CropRange]) -> list[torch.Tensor]:
        """Run the vision tower over one step's crops of any number of images; one tensor for each entry.

        The first axis of each is (stop - start) long, so that an image's parts can be concatenated.
        """

    def assemble(self, layout: ImageLayout, crops: torch.Tensor) -> torch.Tensor:
        """All crops of one image -> its features. A row for each span position unless the family says otherwise."""

    def forward(self, batch: InputBatch, kv_cache: torch.Tensor) -> torch.Tensor:
        """Hidden states [T, hidden] of the step; keys and values are written into `kv_cache`.

        kv_cache: [num_layers, 2, num_blocks, block_size, num_kv_heads, head_dim].
        """

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, hidden] -> float32 [rows, vocab_size]."""


def feature_rows(piece: SequenceSlice) -> list[tuple[int, torch.Tensor]]:
    """Which features stand in this slice: (first batch row, features [n, width]) for each stretch, in order."""
    found = []
    for image in piece.images:
        source = 0
        for span in image.spans:
            begin, end = max(span.offset, piece.start), min(span.end, piece.start + piece.num_tokens)
            if begin < end:
                assert image.features is not None
                first = source + begin - span.offset
                found.append((piece.row + begin - piece.start, image.features[first : first + end - begin]))
            source += span.length
    return found


def counted_positions(prompt: Prompt, rope: Rope, max_total_tokens: int) -> Positions:
    """One row, 0 and up; from the context length on for a sequence of the rope's second variant.

    So a position tells its variant, and one step can mix both.
    """
    variant = rope.variant(max_total_tokens)
    start = variant * rope.context_length
    return Positions(np.arange(start, start + len(prompt.token_ids))[None], delta=start, variant=variant)
