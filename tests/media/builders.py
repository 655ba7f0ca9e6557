"""Pictures in every format, references to them, and a loader over the tiny processor."""

from __future__ import annotations

import base64
import io
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from foveal.arena import PixelArena
from foveal.config import MIB, ImageConfig
from foveal.media.loader import ImageLoader
from foveal.types import ImageRef
from tests.media.tiny import LOAD_TINY, TinyProcessor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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


# Limits of time for tests that are not about them: a busy machine takes long for the smallest picture.
PATIENT = {"fetch_timeout_s": 60.0, "decode_timeout_s": 60.0, "load_timeout_s": 60.0}


@dataclass(frozen=True)
class Bench:
    """A loader with its arena."""

    loader: ImageLoader
    arena: PixelArena


@asynccontextmanager
async def image_loader(
    *, arena_bytes: int = 4 * MIB, trap: str = "", budgets: tuple[int, ...] = (), **settings: Any
) -> AsyncIterator[Bench]:
    """Decodes in this process unless `num_workers` says otherwise; loopback servers may be fetched from."""
    local: dict[str, Any] = {"num_workers": 0, "allowed_hosts": ("127.0.0.1",)} | PATIENT
    config = ImageConfig(**local | settings)
    arena = PixelArena.create(arena_bytes)
    processor = TinyProcessor(trap, budgets=budgets)
    loader = ImageLoader(config, processor, arena, trap, processor_factory=LOAD_TINY)
    try:
        yield Bench(loader, arena)
    finally:
        await loader.close()
