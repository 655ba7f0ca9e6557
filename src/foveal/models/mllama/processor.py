"""Llama 3.2 Vision, in the server: meta-llama/Llama-3.2-11B-Vision-Instruct, Llama-3.2-90B-Vision-Instruct.

    image 1000 x 600                  scaled into a canvas of tiles            units of encoder work
    +------------+                    +-----+-----+                            0, 1, 2, 3  the tiles, row by row;
    |            |  at most 4 tiles   |  0  |  1  |                                        all of them together
    |            |  --------------->  +-----+-----+
    +------------+                    |  2  |  3  |  black below and right     tokens
                                      +-----+-----+                            1 in the prompt; counted for the image
                                                                               are the states that the decoder reads

The canvas is the smallest that need not shrink the image, or else the one that shrinks it least. An image smaller than
a tile is enlarged until one side fills the tile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foveal.errors import CheckpointError
from foveal.models.family import InvalidImageSize
from foveal.types import CropGrid, Detail, ImageLayout, ImageSpan, Placeholder, Size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from foveal.models.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class MllamaProcessor:
    tile_size: int  # pixels a side
    max_num_tiles: int
    num_states: int  # of a tile: one for each patch and one for the class token
    image_token_id: int

    @property
    def fingerprint(self) -> str:
        return f"mllama tile_size={self.tile_size} max_num_tiles={self.max_num_tiles}"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """`detail` low means one tile."""
        if min(size) < 1:
            raise InvalidImageSize("it has no pixels")
        rows, columns = self._canvas(size, 1 if detail == "low" else self.max_num_tiles)
        canvas = Size(columns * self.tile_size, rows * self.tile_size)
        return ImageLayout(
            size=size,
            pixel_shape=(rows * self.tile_size, columns * self.tile_size, 3),
            grid=(rows, columns),
            num_crops=rows * columns,
            num_tokens=rows * columns * self.num_states,
            crops=CropGrid.around(size, self._fitted(size, canvas), rows, columns, self.tile_size, (0, 0)),
        )

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The image, resized bilinearly, in the upper left of its canvas."""
        canvas = np.zeros(layout.pixel_shape, dtype=np.uint8)
        width, height = self._fitted(layout.size, Size(canvas.shape[1], canvas.shape[0]))
        canvas[:height, :width] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
        return canvas

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        """One token; later text attends to the image."""
        return Placeholder((self.image_token_id,), (ImageSpan(0, 1),))

    def _canvas(self, size: Size, max_num_tiles: int) -> tuple[int, int]:
        """Rows and columns of tiles."""
        scales = {
            (rows, columns): min(rows * self.tile_size / size.height, columns * self.tile_size / size.width)
            for rows, columns in tile_grids(max_num_tiles)
        }
        enlarging = [scale for scale in scales.values() if scale >= 1]
        scale = min(enlarging) if enlarging else max(scales.values())
        return min((grid for grid in scales if scales[grid] == scale), key=math.prod)

    def _fitted(self, size: Size, canvas: Size) -> Size:
        """The image's size in its canvas: its own, but at least a tile and at most the canvas on a side."""
        target = Size(*(min(max(side, self.tile_size), limit) for side, limit in zip(size, canvas, strict=True)))
        scale_x, scale_y = target.width / size.width, target.height / size.height
        if scale_x < scale_y:
            return Size(target.width, min(math.floor(size.height * scale_x) or 1, target.height))
        return Size(min(math.floor(size.width * scale_y) or 1, target.width), target.height)


def load(checkpoint: Checkpoint) -> MllamaProcessor:
    """From preprocessor_config.json and config.json. Raises CheckpointError for canvases that are not implemented."""
    settings, vision = checkpoint.preprocessor_config, checkpoint.vision_config
    grids = [list(grid) for grid in tile_grids(settings["max_image_tiles"])]
    if vision.get("supported_aspect_ratios", grids) != grids:
        raise CheckpointError(
            f"{vision.place}: supported_aspect_ratios are not all of max_image_tiles in {settings.place}"
        )
    tile_size = settings["size"]["height"]
    return MllamaProcessor(
        tile_size=tile_size,
        max_num_tiles=settings["max_image_tiles"],
        num_states=(tile_size // vision["patch_size"]) ** 2 + 1,
        image_token_id=checkpoint.config["image_token_index"],
    )


def tile_grids(max_num_tiles: int) -> list[tuple[int, int]]:
    """All (rows, columns) of at most `max_num_tiles` tiles; an aspect ratio id is an index here, counted from 1."""
    sides = range(1, max_num_tiles + 1)
    return [(rows, columns) for rows in sides for columns in sides if rows * columns <= max_num_tiles]
