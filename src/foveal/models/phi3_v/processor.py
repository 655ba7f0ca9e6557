"""Phi-3-vision and Phi-3.5-vision, in the server: microsoft/Phi-3-vision-128k-instruct, Phi-3.5-vision-instruct.

    image 1344 x 1008                   scaled and padded with white          units of encoder work
    +----------------+                  +-----+-----+-----+-----+             0        the whole, at crop size
    |                |  num_crops 16    |  1  |  2  |  3  |  4  |             1 .. 12  the crops, row by row
    |                |  -------------> +-----+-----+-----+-----+
    |                |                  |  5  |  6  |  7  |  8  |             tokens (crops of 336: S = 12)
    +----------------+                  +-----+-----+-----+-----+             3 S rows of 4 S, a separator after each
                                        |  9  | 10  | 11  | 12  |             1 separator
                                        +-----+-----+-----+-----+             S rows of S, a separator after each

Quirks of the published processor, kept: a tall image is cut as a wide one, transposed before and after, so its padding
is left and right. Only the aspect ratio decides the number of tokens; a small image is scaled up. Our own
change: an image of one crop has one unit, which is both the crop and the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foveal.models.family import InvalidImageSize
from foveal.types import CropGrid, Detail, ImageLayout, ImageSpan, Placeholder, Size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from foveal.models.checkpoint import Checkpoint

PIXELS_PER_TOKEN = 28  # a side: two patches of 14
WHITE = 255


@dataclass(frozen=True, slots=True)
class Phi3VProcessor:
    crop_size: int  # pixels a side
    num_crops: int  # at most, the whole not counted
    image_token_id: int

    @property
    def fingerprint(self) -> str:
        return f"phi3_v crop_size={self.crop_size} num_crops={self.num_crops}"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """`detail` low means one crop; high and auto mean as many as the checkpoint takes."""
        if min(size) < 1:
            raise InvalidImageSize("it has no pixels")
        num_crops = 1 if detail == "low" else self.num_crops
        ratio, limit = max(size) / min(size), num_crops * self.crop_size
        if ratio > limit:
            raise InvalidImageSize(f"it is too narrow; its longer side may be at most {limit} times its shorter side")
        columns = _scale(ratio, num_crops)
        rows = math.ceil(_scaled_height(ratio, columns * self.crop_size) / self.crop_size)
        if size.height > size.width:
            rows, columns = columns, rows
        return ImageLayout(
            size=size,
            pixel_shape=(rows * self.crop_size, columns * self.crop_size, 3),
            grid=(rows, columns),
            num_crops=rows * columns + 1 if rows * columns > 1 else 1,
            num_tokens=num_image_tokens(rows, columns, self.crop_size // PIXELS_PER_TOKEN),
            crops=self._crops(size, rows, columns),
        )

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The image, resized bilinearly and padded to whole crops."""
        is_tall = picture.height > picture.width
        if is_tall:
            picture = picture.transpose(Image.Transpose.TRANSPOSE)
        padded_height, width = sorted(layout.pixel_shape[:2])
        height = _scaled_height(picture.width / picture.height, width)
        above = (padded_height - height) // 2
        pixels = np.full((padded_height, width, 3), WHITE, dtype=np.uint8)
        pixels[above : above + height] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
        return pixels.swapaxes(0, 1) if is_tall else pixels

    def _crops(self, size: Size, rows: int, columns: int) -> CropGrid:
        long, short = (side * self.crop_size for side in sorted((rows, columns), reverse=True))
        scaled = _scaled_height(max(size) / min(size), long)
        padding = (short - scaled) // 2
        if size.height > size.width:
            return CropGrid.around(size, Size(scaled, long), rows, columns, self.crop_size, (padding, 0))
        return CropGrid.around(size, Size(long, scaled), rows, columns, self.crop_size, (0, padding))

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        """Features fill every position, separators included; the token id has no other use."""
        return Placeholder((self.image_token_id,) * layout.num_tokens, (ImageSpan(0, layout.num_tokens),))


def load(checkpoint: Checkpoint) -> Phi3VProcessor:
    """From config.json (crop size; 336 if the tower's sizes are missing), preprocessor_config.json, tokenizer.json.

    Without a tokenizer the placeholder's id is 0; its embedding is never used.
    """
    vision = checkpoint.config["img_processor"].get("vision_config", {})
    return Phi3VProcessor(
        crop_size=vision.get("image_size", 336),
        num_crops=checkpoint.preprocessor_config.get("num_crops", 16),
        image_token_id=checkpoint.added_token_id("<|image|>") or 0,
    )


def num_image_tokens(rows: int, columns: int, side: int) -> int:
    """Tokens of rows x columns crops of side x side tokens each, the whole, and the separators."""
    return (rows * columns + 1) * side**2 + (rows + 1) * side + 1


def _scale(ratio: float, num_crops: int) -> int:
    """The most crops in a row for an image `ratio` times as wide as high, so that all rows together fit."""
    return max(scale for scale in range(1, num_crops + 1) if scale * math.ceil(scale / ratio) <= num_crops)


def _scaled_height(ratio: float, width: int) -> int:
    return int(width / ratio)
