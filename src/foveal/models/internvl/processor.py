"""InternVL3 in the layout of the transformers library, in the server: OpenGVLab/InternVL3-1B-hf ... 78B-hf.

    image 1000 x 600                  squeezed into a grid of tiles           units of encoder work
    +------------+                    +-----+-----+-----+                     0 .. 5  the tiles, row by row
    |            |  at most 12 tiles  |  0  |  1  |  2  |                     6       the whole, at tile size
    |            |  --------------->  +-----+-----+-----+
    +------------+                    |  3  |  4  |  5  |                     tokens (L to a unit)
                                      +-----+-----+-----+                     <img> 7 L </img>

The grid is the one with the nearest aspect ratio; of equal ones the larger, if the image has pixels for half of it.
An image of one tile has one unit, the whole.
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


@dataclass(frozen=True, slots=True)
class InternVLProcessor:
    tile_size: int  # pixels a side
    min_num_tiles: int
    max_num_tiles: int
    tokens_per_unit: int
    token_ids: tuple[int, int, int]  # <img>, the context token, </img>

    @property
    def fingerprint(self) -> str:
        tiles = f"{self.min_num_tiles}..{self.max_num_tiles}"
        return f"internvl tile_size={self.tile_size} tiles={tiles} L={self.tokens_per_unit}"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """`detail` low means one tile."""
        if min(size) < 1:
            raise InvalidImageSize("it has no pixels")
        rows, columns = (1, 1) if detail == "low" else self._grid(size)
        num_units = rows * columns + (rows * columns > 1)
        return ImageLayout(
            size=size,
            pixel_shape=(num_units, self.tile_size, self.tile_size, 3),
            grid=(rows, columns),
            num_crops=num_units,
            num_tokens=num_units * self.tokens_per_unit + 2,
            crops=CropGrid.over(size, rows, columns),
        )

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The tiles and the whole, resized bicubically."""
        side, (rows, columns) = self.tile_size, layout.grid
        squeezed = np.array(picture.resize((columns * side, rows * side), Image.Resampling.BICUBIC))
        tiles = squeezed.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        if len(tiles) == 1:
            return tiles
        whole = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))
        return np.concatenate([tiles, whole[None]])

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        start, image, end = self.token_ids
        num_features = layout.num_tokens - 2
        return Placeholder((start, *(image,) * num_features, end), (ImageSpan(1, num_features),))

    def _grid(self, size: Size) -> tuple[int, int]:
        """Rows and columns of tiles."""
        ratio, num_pixels = size.width / size.height, size.width * size.height
        best, best_difference = (1, 1), math.inf
        for rows, columns in grids(self.min_num_tiles, self.max_num_tiles):
            difference = abs(ratio - columns / rows)
            has_pixels = num_pixels > 0.5 * self.tile_size**2 * rows * columns
            if difference < best_difference or (difference == best_difference and has_pixels):
                best, best_difference = (rows, columns), difference
        return best


def load(checkpoint: Checkpoint) -> InternVLProcessor:
    """From preprocessor_config.json, config.json and tokenizer.json.

    crop_to_patches is off in the published settings, but the published processor turns it on.
    """
    settings, config = checkpoint.preprocessor_config, checkpoint.config
    return InternVLProcessor(
        tile_size=settings["size"]["height"],
        min_num_tiles=settings.get("min_patches", 1),
        max_num_tiles=settings.get("max_patches", 12),
        tokens_per_unit=config.get("image_seq_length", 256),
        token_ids=(
            checkpoint.added_token_id("<img>") or 0,
            config["image_token_id"],
            checkpoint.added_token_id("</img>") or 0,
        ),
    )


def grids(min_num_tiles: int, max_num_tiles: int) -> list[tuple[int, int]]:
    """All (rows, columns), smaller grids first, and of equal sizes those with fewer columns."""
    sides = range(1, max_num_tiles + 1)
    allowed = range(min_num_tiles, max_num_tiles + 1)
    found = [(rows, columns) for columns in sides for rows in sides if rows * columns in allowed]
    return sorted(found, key=math.prod)
