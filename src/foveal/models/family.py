"""The contract of a model family: what a folder under models/ provides, and nothing about how.

A family is two modules. `processor.py` (numpy and Pillow; in the server and the image workers) provides a `Processor`.
`model.py` (torch; in the engine) provides a `Model`: a decoder and an image side. This file imports no torch at run
time, so that the server can import it.

What the contract allows, and which family needs it:
  * one feature tensor an image, whose axes the family defines: usually a row for each span position. Llama 3.2 Vision
    has keys and values of its cross-attention layers, Qwen3-VL several feature sets side by side on the last axis;
  * several spans for one image (Idefics3: tiles with text between);
  * positions of several rows (Qwen: time, height, width) and position variants that make cached keys differ
    (Phi-3's short and long rope);
  * images that later tokens attend to (Llama 3.2 Vision), spans that one step must not cut (Gemma 3);
  * states of layers that are no attention (Qwen3.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from foveal.types import Detail, ImageLayout, ImageSpan, Placeholder, Prompt, Size

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from foveal.layers.attention.batch import AttentionBatch
    from foveal.layers.pieces import Pieces
    from foveal.layers.step import AfterLayer, KVShape, Positions, StateShape, StepContext
    from foveal.models.checkpoint import Settings


# --- in the server and the image workers ------------------------------------------------------------------------------


class Processor(Protocol):
    """Cuts images into crops and counts their tokens. Made from the checkpoint's JSON files; immutable, small."""

    @property
    def fingerprint(self) -> str:
        """Contains every setting that changes pixels or token counts; part of each image's hash."""

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """How an image of this size is cut. Only this function decides how many tokens an image takes.

        Raises InvalidImageSize, with a sentence for the client, if the family cannot take the size. `detail` is a
        number only where the processor has `budgets`, and then one of them.
        """

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The RGB image, cut and resized as `layout` says: uint8 of shape `layout.pixel_shape`."""

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        """The token ids that stand for the image in the prompt, separators included."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a library knows of a checkpoint whose type has no conversation config here: a processor's `described`."""

    config: Settings  # config.json with all defaults
    image_mark: str  # what its template prints for an image
    image_tokens: tuple[str, ...]  # that only an image may add to a prompt


class InvalidImageSize(ValueError):
    """`Processor.layout` cannot take this size; the message is a sentence for the client."""


# --- in the engine ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CropRange:
    """A share of one image's encoder work: crops [start, stop)."""

    pixels: torch.Tensor  # uint8, ImageLayout.pixel_shape, the whole image, on the model's device
    layout: ImageLayout
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image of a running sequence: its features (None if the step does not need them) and its spans."""

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


class Decoder(Protocol):
    """Token ids -> hidden states -> logits. Stateless between calls: the engine owns every cache."""

    @property
    def kv_shape(self) -> KVShape: ...

    @property
    def state_shapes(self) -> Sequence[StateShape]:
        """What its layers keep of a sequence besides keys and values. The engine has a slot of it for each sequence."""

    @property
    def max_model_len(self) -> int: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The distinct windows of its layers, for which attention must be planned; None: no window."""

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        """Rotary positions of a new sequence that may grow to `max_total_tokens`."""

    def embed(self, token_ids_T: torch.Tensor) -> torch.Tensor:
        """[T] -> [T, hidden], a new tensor, into which the image side may write."""

    def decode(self, x_TW: torch.Tensor, step: StepContext) -> torch.Tensor:
        """Embeddings -> hidden states [T, hidden]; keys and values are written into the step's KV cache.

        All that differs between steps is in the two arguments. A captured call could therefore run again, if all
        their tensors were overwritten in place, those of the attention backend included. No backend keeps its tensors
        today, but one that does fits here (decision 018).
        """

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, hidden] -> float32 [rows, vocab_size]."""


@dataclass(frozen=True, slots=True)
class ImageTraits:
    """What the scheduler must know of a family's images."""

    splits_images: bool = True  # crops are independent: an image may be encoded over several steps
    whole_spans: bool = False  # tokens of a span attend to each other, so one step computes all of it
    spans_need_window: bool = False  # they do so in layers with a window alone
    rereads_images: bool = False  # features are read at every later step, not only in their spans


class ImageSide(Protocol):
    """From an image's pixels to the features that a decoder takes. Stateless between calls, as a decoder."""

    @property
    def traits(self) -> ImageTraits: ...

    def encode_crops(self, work: Sequence[CropRange]) -> Pieces[list[torch.Tensor]]:
        """Run the vision tower over crops of any number of images; one tensor for each entry.

        The first axis of each is (stop - start) long, so that an image's crops can be concatenated. It may be
        interrupted between pieces (layers.pieces). Pixels may be overwritten from its first yield on.
        """

    def assemble(self, layout: ImageLayout, crops: torch.Tensor) -> Pieces[torch.Tensor]:
        """All crops of one image -> its features: a row for each span position, unless the family differs."""

    def place(self, x_TW: torch.Tensor, slices: Sequence[SequenceSlice]) -> AfterLayer | None:
        """Write a step's features into its embeddings; returns what to call after each decoder layer, if anything.

        Most families use `foveal.models.features.place_features`.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded checkpoint."""

    decoder: Decoder
    images: ImageSide | None = None

    @property
    def traits(self) -> ImageTraits:
        return self.images.traits if self.images else ImageTraits()


def feature_rows(part: SequenceSlice) -> list[tuple[int, torch.Tensor]]:
    """The features in this slice: (first batch row, features [n, width]) for each image span, in order."""
    found = []
    for image in part.images:
        source = 0
        for span in image.spans:
            begin, end = max(span.offset, part.start), min(span.end, part.start + part.num_tokens)
            if begin < end:
                assert image.features is not None
                first = source + begin - span.offset
                found.append((part.row + begin - part.start, image.features[first : first + end - begin]))
            source += span.length
    return found
