"""Pictures in every format, a processor that needs no checkpoint, and the loader over both.

`load_tiny` is the processor factory of the workers in these tests; its argument is the trap, if any: what happens when
a picture of the size TRAP is prepared.
"""

from __future__ import annotations

import base64
import io
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from foveal.arena import PixelArena
from foveal.config import MIB, ImageConfig
from foveal.images.loader import ImageLoader
from foveal.models.family import InvalidImageSize
from foveal.types import Detail, ImageLayout, ImageRef, ImageSpan, Placeholder, Size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from numpy.typing import NDArray

    from foveal.images.fetch import Fetcher

SIDE = 28
SLOT_BYTES = 2368  # 28 x 28 x 3, in whole cache lines
TRAP = Size(13, 13)
LOAD_TINY = f"{__name__}:load_tiny"


@dataclass(frozen=True)
class TinyProcessor:
    """Every picture becomes 28 x 28 pixels and four tokens; none may be over 100 times as long as wide."""

    trap: str = ""
    fingerprint: str = "tiny"

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
            time.sleep(60)
        case "crash":
            os.abort()
        case "grow":
            bytearray(8 << 30)
        case "fail":
            raise RuntimeError("a bug in a processor")


def encode(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


Colour = float | str | tuple[int, ...]


def plain(colour: Colour = "red", size: tuple[int, int] = (8, 6), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)


def png(colour: Colour = "red", size: tuple[int, int] = (8, 6)) -> bytes:
    return encode(plain(colour, size))


def data_url(encoded: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(encoded).decode()}"


def refs(*sources: str | bytes) -> list[ImageRef]:
    """Positions from 1; bytes are sent as a data URL."""
    texts = [data_url(source) if isinstance(source, bytes) else source for source in sources]
    return [ImageRef(text, position) for position, text in enumerate(texts, 1)]


@dataclass(frozen=True)
class Bench:
    """A loader with its arena."""

    loader: ImageLoader
    arena: PixelArena


@asynccontextmanager
async def image_loader(
    *, arena_bytes: int = 4 * MIB, trap: str = "", fetcher: Fetcher | None = None, **settings: Any
) -> AsyncIterator[Bench]:
    """Decodes in this process unless `num_workers` says otherwise; loopback servers may be fetched from."""
    local: dict[str, Any] = {"num_workers": 0, "allowed_hosts": ("127.0.0.1",), "fetch_timeout_s": 5.0}
    config = ImageConfig(**local | settings)
    arena = PixelArena.create(arena_bytes)
    processor = TinyProcessor(trap)
    loader = ImageLoader(config, processor, arena, trap, processor_factory=LOAD_TINY, fetcher=fetcher)
    try:
        yield Bench(loader, arena)
    finally:
        await loader.close()
