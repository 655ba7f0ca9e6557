"""The Qwen-VL models and Qwen3.5, in the server: Qwen/Qwen2-VL-2B-Instruct ... Qwen/Qwen3.5-35B-A3B.

    image 640 x 480                   sides rounded to whole blocks            units of encoder work
    +------------+                    +--+--+-- 23 --+--+                      the image as a whole, counted by
    |            |  bicubic           |  |  |        |  |                      its patches
    |            |  --------------->  +--+--+        +--+                      tokens (blocks of 28)
    +------------+                    17 |           |  |                      one a block, row by row
                                      +--+--+--------+--+                      23 x 17 = 391

A block is 2 x 2 patches. An image of more or fewer pixels than the checkpoint allows is scaled until it fits.
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

MAX_ASPECT_RATIO = 200
MAX_BLOCKS_AT_LOW_DETAIL = 256  # ours
PATCHES_PER_UNIT = 576  # a unit of encoder work: the patches of a crop of 336 pixels


@dataclass(frozen=True, slots=True)
class Qwen2VLProcessor:
    patch_size: int  # pixels a side
    merge_size: int  # patches a side of a block
    min_pixels: int
    max_pixels: int
    image_token_id: int

    @property
    def fingerprint(self) -> str:
        return f"qwen2_vl patch={self.patch_size}x{self.merge_size} pixels={self.min_pixels}..{self.max_pixels}"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """`detail` low means at most 256 tokens. The grid is rows and columns of blocks."""
        if min(size) < 1:
            raise InvalidImageSize("it has no pixels")
        if max(size) / min(size) > MAX_ASPECT_RATIO:
            raise InvalidImageSize(
                f"it is too narrow; its longer side may be at most {MAX_ASPECT_RATIO} times its shorter side"
            )
        side = self.patch_size * self.merge_size
        low = max(self.min_pixels, MAX_BLOCKS_AT_LOW_DETAIL * side**2)
        limit = min(self.max_pixels, low) if detail == "low" else self.max_pixels
        rows, columns = blocks(size, side, self.min_pixels, limit)
        return ImageLayout(
            size=size,
            pixel_shape=(rows * side, columns * side, 3),
            grid=(rows, columns),
            num_crops=math.ceil(rows * columns * self.merge_size**2 / PATCHES_PER_UNIT),
            num_tokens=rows * columns,
            crops=CropGrid.over(size, rows, columns),
        )

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The image, resized bicubically."""
        height, width, _ = layout.pixel_shape
        return np.array(picture.resize((width, height), Image.Resampling.BICUBIC))

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        """One token a block; the conversation config adds what is around an image."""
        return Placeholder((self.image_token_id,) * layout.num_tokens, (ImageSpan(0, layout.num_tokens),))


def load(checkpoint: Checkpoint) -> Qwen2VLProcessor:
    """From preprocessor_config.json (pixel limits under either of their published names) and config.json."""
    settings = checkpoint.preprocessor_config
    size = settings.get("size", settings)
    return Qwen2VLProcessor(
        patch_size=settings["patch_size"],
        merge_size=settings["merge_size"],
        min_pixels=settings.get("min_pixels") or size["shortest_edge"],
        max_pixels=settings.get("max_pixels") or size["longest_edge"],
        image_token_id=checkpoint.config["image_token_id"],
    )


def blocks(size: Size, side: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Rows and columns of blocks of side x side pixels, near the image's own size and within the limits."""
    rows, columns = round(size.height / side), round(size.width / side)
    if rows * columns * side**2 > max_pixels:
        shrink = math.sqrt(size.height * size.width / max_pixels)
        rows, columns = (max(1, math.floor(x / shrink / side)) for x in (size.height, size.width))
    elif rows * columns * side**2 < min_pixels:
        grow = math.sqrt(min_pixels / (size.height * size.width))
        rows, columns = (math.ceil(x * grow / side) for x in (size.height, size.width))
    return rows, columns
