"""Draws pictures that no cache holds: colour fields in two scales with shapes on them, one for each random generator.

They compress about as photographs do, and a model can describe them. They show nothing real.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from foveal.types import Size

if TYPE_CHECKING:
    from foveal.bench.records import ImageFormat

COARSE, FINE = 64, 4  # pixels of a field's cell
FINE_SHARE = 0.12  # of a picture's contrast; makes a JPEG of 85 take about 2 bits a pixel
NUM_SHAPES = 8
QUALITY = 85


def draw(rng: np.random.Generator, size: Size) -> Image.Image:
    picture = Image.blend(_field(rng, size, COARSE), _field(rng, size, FINE), FINE_SHARE)
    canvas = ImageDraw.Draw(picture)
    for _ in range(NUM_SHAPES):
        left, top = (int(rng.integers(0, side)) for side in size)
        corners = (
            left,
            top,
            left + 1 + int(rng.integers(size.width // 3 + 1)),
            top + 1 + int(rng.integers(size.height // 3 + 1)),
        )
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        (canvas.ellipse if rng.integers(2) else canvas.rectangle)(corners, fill=colour)
    return picture


def random_size(rng: np.random.Generator, smallest: Size, largest: Size) -> Size:
    """A size whose sides are each uniformly distributed between the two."""
    sides = [int(rng.integers(least, most + 1)) for least, most in zip(smallest, largest, strict=True)]
    return Size(*sides)


def data_url(picture: Image.Image, image_format: ImageFormat) -> str:
    encoded = io.BytesIO()
    if image_format == "png":
        picture.save(encoded, "PNG", compress_level=1)
    else:
        picture.save(encoded, "JPEG", quality=QUALITY)
    return f"data:image/{image_format};base64,{base64.b64encode(encoded.getbuffer()).decode('ascii')}"


def _field(rng: np.random.Generator, size: Size, cell: int) -> Image.Image:
    """Random colours at the corners of cells, interpolated between them."""
    shape = (size.height // cell + 2, size.width // cell + 2, 3)
    return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
