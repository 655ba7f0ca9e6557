"""Gemma 4, in the server: google/gemma-4-E2B-it ... gemma-4-31B-it, gemma-4-12B-it (unified).

    image 640 x 480                   scaled to at most 280 tokens             units of encoder work
    +------------+                    +--+--+-- 19 --+--+                      the image as a whole, counted by
    |            |  bicubic           |  |  |        |  |                      its patches
    |            |  --------------->  +--+--+        +--+                      tokens (squares of 48 pixels)
    +------------+                    14 |           |  |                      <|image> one a square <image|>
                                      +--+--+--------+--+                      19 x 14 = 266

An image is scaled, up or down, until it takes as many tokens as its budget allows: 70, 140, 280, 560 or 1120. `detail`
chooses the budget: low 70, high 1120, auto the checkpoint's own; or a request names one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image

from foveal.errors import CheckpointError
from foveal.models.family import InvalidImageSize
from foveal.types import CropGrid, Detail, ImageLayout, ImageSpan, Placeholder, Size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from foveal.models.checkpoint import Checkpoint

BUDGETS = (70, 140, 280, 560, 1120)  # tokens
PATCHES_PER_UNIT = 576  # a unit of encoder work: the patches of a crop of 336 pixels


@dataclass(frozen=True, slots=True)
class Gemma4Processor:
    patch_size: int  # pixels a side
    pool: int  # patches a side of a token
    budget: int  # tokens of an image at most, at detail auto
    token_ids: tuple[int, int, int]  # start of image, image, end of image
    budgets: ClassVar[tuple[int, ...]] = BUDGETS  # that a request can ask for

    @property
    def fingerprint(self) -> str:
        return f"gemma4 patch={self.patch_size}x{self.pool} budget={self.budget}"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """The grid is rows and columns of tokens."""
        if min(size) < 1:
            raise InvalidImageSize("it has no pixels")
        side = self.patch_size * self.pool
        named = {"low": BUDGETS[0], "auto": self.budget, "high": BUDGETS[-1]}
        rows, columns = squares(size, side, detail if isinstance(detail, int) else named[detail])
        return ImageLayout(
            size=size,
            pixel_shape=(rows * side, columns * side, 3),
            grid=(rows, columns),
            num_crops=math.ceil(rows * columns * self.pool**2 / PATCHES_PER_UNIT),
            num_tokens=rows * columns + 2,
            crops=CropGrid.over(size, rows, columns),
        )

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The image, resized bicubically."""
        height, width, _ = layout.pixel_shape
        return np.array(picture.resize((width, height), Image.Resampling.BICUBIC))

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        start, image, end = self.token_ids
        num_features = layout.num_tokens - 2
        return Placeholder((start, *(image,) * num_features, end), (ImageSpan(1, num_features),))


def squares(size: Size, side: int, budget: int) -> tuple[int, int]:
    """Rows and columns of the largest image of whole squares that keeps the shape, within the budget."""
    scale = math.sqrt(budget * side**2 / (size.height * size.width))
    rows, columns = math.floor(scale * size.height / side), math.floor(scale * size.width / side)
    if not rows:
        return 1, min(size.width // size.height, budget)
    if not columns:
        return min(size.height // size.width, budget), 1
    return rows, columns


def load(checkpoint: Checkpoint) -> Gemma4Processor | None:
    """From config.json and the picture settings; None for a text model. Raises CheckpointError for a wrong budget."""
    config, settings = checkpoint.config, checkpoint.preprocessor_config
    if config.get("vision_config") is None:
        return None
    vision, budget = checkpoint.vision_config, settings.get("max_soft_tokens", 280)
    if budget not in BUDGETS:
        raise CheckpointError(f"{settings.place}: max_soft_tokens is {budget}; it must be one of {BUDGETS}")
    for name in ("patch_size", "pooling_kernel_size"):
        if settings.get(name, vision[name]) != vision[name]:
            raise CheckpointError(f"{settings.place}: {name} is {settings[name]}, but {vision[name]} in config.json")
    return Gemma4Processor(
        patch_size=vision["patch_size"],
        pool=vision["pooling_kernel_size"],
        budget=budget,
        token_ids=(
            config.get("boi_token_id", 255_999),
            config.get("image_token_id", 258_880),
            config.get("eoi_token_id", 258_882),
        ),
    )
