"""Idefics3 and SmolVLM, in the server: HuggingFaceM4/Idefics3-8B-Llama3, HuggingFaceTB/SmolVLM-256M-Instruct ...

    image 1000 x 600                  longest side as configured,             units of encoder work
    +------------+                    then sides of whole tiles               0 .. 5  the tiles, row by row
    |            |                    +-----+-----+-----+                     6       the whole, at tile size
    |            |  --------------->  |  0  |  1  |  2  |
    +------------+                    +-----+-----+-----+                     tokens (L to a unit)
                                      |  3  |  4  |  5  |                     <fake...><row_1_col_1> L ...,
                                      +-----+-----+-----+                     a line break after each row and before
                                                                              <fake...><global-img> L <fake...>

An image has a span for each unit, with marks between them. An image of one tile has one unit, the whole.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foveal.models.family import InvalidImageSize
from foveal.types import CropGrid, Detail, ImageLayout, ImageSpan, Placeholder, Size

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image as Picture
    from tokenizers import Tokenizer

    from foveal.models.checkpoint import Checkpoint

AROUND, WHOLE = "<fake_token_around_image>", "<global-img>"
MAX_SIDE = 4096  # pixels

Encode = Callable[[str], tuple[int, ...]]
"""The checkpoint's tokenizer, for the marks around units: one token in some tokenizers, several in others."""


@dataclass(frozen=True, slots=True)
class Idefics3Processor:
    tile_size: int  # pixels a side
    longest_side: int
    splits: bool  # whether images are cut into tiles at all
    tokens_per_unit: int
    image_token_id: int
    encode: Encode

    @property
    def fingerprint(self) -> str:
        return f"idefics3 tile={self.tile_size} side={self.longest_side} splits={self.splits} L={self.tokens_per_unit}"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """`detail` low means only the whole; the grid is then (0, 0)."""
        if min(size) < 1:
            raise InvalidImageSize("it has no pixels")
        rows, columns = self._grid(size) if self.splits and detail != "low" else (0, 0)
        num_units = rows * columns + 1
        return ImageLayout(
            size=size,
            pixel_shape=(num_units, self.tile_size, self.tile_size, 3),
            grid=(rows, columns),
            num_crops=num_units,
            num_tokens=sum(len(self.encode(mark)) for mark in marks(rows, columns)) + num_units * self.tokens_per_unit,
            crops=CropGrid.over(size, max(rows, 1), max(columns, 1)),
        )

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The tiles and the whole, each resized three times, as the published processor does."""
        side, (rows, columns) = self.tile_size, layout.grid
        picture = picture.resize(scaled(layout.size, self.longest_side), Image.Resampling.LANCZOS)
        if rows == 0:
            return np.array(picture.resize((side, side), Image.Resampling.LANCZOS))[None]
        picture = picture.resize((columns * side, rows * side), Image.Resampling.LANCZOS)
        tiles = np.asarray(picture).reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        whole = np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))
        return np.concatenate([tiles, whole[None]])

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        """The marks, and a span for each unit between them."""
        rows, columns = layout.grid
        *before, end = (self.encode(mark) for mark in marks(rows, columns))
        token_ids: list[int] = []
        spans = []
        for mark in before:
            spans.append(ImageSpan(len(token_ids) + len(mark), self.tokens_per_unit))
            token_ids += [*mark, *(self.image_token_id,) * self.tokens_per_unit]
        return Placeholder((*token_ids, *end), tuple(spans))

    def _grid(self, size: Size) -> tuple[int, int]:
        """Rows and columns of tiles; (0, 0) for an image of one tile."""
        fitted = self._whole_tiles(scaled(size, self.longest_side))
        rows, columns = fitted.height // self.tile_size, fitted.width // self.tile_size
        return (rows, columns) if rows * columns > 1 else (0, 0)

    def _whole_tiles(self, size: Size) -> Size:
        """The size with the longer side enlarged to whole tiles, then the other in proportion, and to whole tiles."""
        side, ratio = self.tile_size, size.width / size.height
        if size.width >= size.height:
            width = math.ceil(size.width / side) * side
            return Size(width, math.ceil(int(width / ratio) / side) * side)
        height = math.ceil(size.height / side) * side
        return Size(math.ceil(int(height * ratio) / side) * side, height)


def load(checkpoint: Checkpoint) -> Idefics3Processor:
    """From preprocessor_config.json, config.json and tokenizer.json."""
    settings, vision = checkpoint.preprocessor_config, checkpoint.vision_config
    return Idefics3Processor(
        tile_size=settings["max_image_size"]["longest_edge"],
        longest_side=settings["size"]["longest_edge"],
        splits=settings.get("do_image_splitting", True),
        tokens_per_unit=(vision["image_size"] // vision["patch_size"] // checkpoint.config.get("scale_factor", 2)) ** 2,
        image_token_id=checkpoint.config["image_token_id"],
        encode=_encoder(checkpoint.folder / "tokenizer.json"),
    )


def marks(rows: int, columns: int) -> list[str]:
    """The marks before each unit and after the last."""
    if rows == 0:
        return [AROUND + WHOLE, AROUND]
    tiles = [
        ("\n" if row > 1 and column == 1 else "") + f"{AROUND}<row_{row}_col_{column}>"
        for row in range(1, rows + 1)
        for column in range(1, columns + 1)
    ]
    return [*tiles, f"\n\n{AROUND}{WHOLE}", AROUND]


def scaled(size: Size, longest_side: int) -> Size:
    """The size with its longer side as given; the other is made even, as published."""
    ratio = size.width / size.height
    if size.width >= size.height:
        height = int(longest_side / ratio)
        size = Size(longest_side, max(height + height % 2, 1))
    else:
        width = int(longest_side * ratio)
        size = Size(max(width + width % 2, 1), longest_side)
    if max(size) <= MAX_SIDE:
        return size
    ratio = size.width / size.height
    if size.width >= size.height:
        return Size(MAX_SIDE, max(int(MAX_SIDE / ratio), 1))
    return Size(max(int(MAX_SIDE * ratio), 1), MAX_SIDE)


def _encoder(file: Path) -> Encode:
    """Opens the tokenizer at the first call, which image workers never make."""

    @functools.cache
    def tokenizer() -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(file))

    @functools.cache
    def encode(text: str) -> tuple[int, ...]:
        return tuple(tokenizer().encode(text, add_special_tokens=False).ids)

    return encode
