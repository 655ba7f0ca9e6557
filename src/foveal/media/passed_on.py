"""Images for other servers: fetched and bounded as all are, then passed on as bytes, so that nobody fetches again.

A picture that every decoder shows alike goes on as it was sent. Others are drawn here and go on as PNG: pages of a PDF,
TIFF or WebP, and what is turned, transparent or deep.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import Image as Pictures

from foveal.arena import PixelArena
from foveal.media.as_it_is import AsItIs
from foveal.media.loader import ImageLoader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.config import ImageConfig
    from foveal.media.stats import ImageStats
    from foveal.types import Caller, Image, ImageRef

_FACTORY = "foveal.media.as_it_is:processor"
_FAST = 1  # zlib's level; better ones take seconds for a photo


class PassedOn:
    """The image workers of all models that run elsewhere."""

    def __init__(self, config: ImageConfig) -> None:
        self._arena = PixelArena.create(config.arena_bytes)
        self._loader = ImageLoader(config, AsItIs(), self._arena, "", processor_factory=_FACTORY)

    @property
    def stats(self) -> ImageStats:
        return self._loader.stats

    async def passed_on(self, refs: Sequence[ImageRef], caller: Caller, salt: bytes) -> list[ImageRef]:
        """The references with the bytes of their images, PNG or JPEG. Raises what `ImageLoader.load` raises."""
        fetched = await self._loader.fetch(refs, caller, salt)
        found = [replace(ref, source=image.encoded) for ref, image in zip(refs, fetched, strict=True)]
        drawn = [ref for ref, image in zip(found, fetched, strict=True) if not image.is_plain]
        pictures = iter(await self._drawn(drawn, caller, salt) if drawn else ())
        return [ref if image.is_plain else next(pictures) for ref, image in zip(found, fetched, strict=True)]

    async def read_file(self, ref: ImageRef, caller: Caller, salt: bytes) -> list[str | ImageRef]:
        """What stands for a file: its text, or its pages as images. Raises FileError."""
        return await self._loader.read_file(ref, caller, salt)

    async def close(self) -> None:
        await self._loader.close()

    async def _drawn(self, refs: Sequence[ImageRef], caller: Caller, salt: bytes) -> list[ImageRef]:
        async with self._loader.load(refs, caller, salt) as images:
            encoded = [await asyncio.to_thread(self._as_png, image) for image in images]
        return [replace(ref, source=png, page=None) for ref, png in zip(refs, encoded, strict=True)]

    def _as_png(self, image: Image) -> bytes:
        written = io.BytesIO()
        Pictures.fromarray(self._arena.view(image.pixels)).save(written, "PNG", compress_level=_FAST)
        return written.getvalue()
