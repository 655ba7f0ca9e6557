"""A processor that needs no checkpoint, light enough for many workers to be started.

`load_tiny` is the processor factory of the workers in these tests; its argument is the trap, if any: what happens when
a picture of the size TRAP is prepared.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foveal.models.family import InvalidImageSize
from foveal.types import Detail, ImageLayout, ImageSpan, Placeholder, Size

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 28
SLOT_BYTES = 2368  # 28 x 28 x 3, in whole cache lines
TRAP = Size(13, 13)
LOAD_TINY = f"{__name__}:load_tiny"


@dataclass(frozen=True)
class TinyProcessor:
    """Every picture becomes 28 x 28 pixels and four tokens; none may be over 100 times as long as wide."""

    trap: str = ""
    fingerprint: str = "tiny"
    budgets: tuple[int, ...] = ()

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        if max(size) > 100 * min(size):
            raise InvalidImageSize("the picture is too narrow; its longer side may be at most 100 times its shorter")
        return ImageLayout(size, (SIDE, SIDE, 3), grid=(1, 1), num_crops=1, num_tokens=4)

    def prepare(self, picture: Image.Image, layout: ImageLayout) -> NDArray[np.uint8]:
        if picture.size == TRAP:
            spring(self.trap)
        return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.NEAREST))

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        return Placeholder((7,) * 4, (ImageSpan(0, 4),))


def load_tiny(trap: str) -> TinyProcessor:
    return TinyProcessor(trap)


def spring(trap: str) -> None:
    match trap:
        case "hang":
            time.sleep(3600)
        case "crash":
            os.abort()
        case "grow":
            bytearray(8 << 30)
        case "fail":
            raise RuntimeError("a bug in a processor")
