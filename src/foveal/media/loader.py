"""Image references -> images with prepared pixels in the arena. Concurrent requests share downloads and decoding.

    ImageRef -> read_source -> Downloads -> hash -> PixelCache -> Decoder -> Image

Enforces a request's budgets over all its images: number, pixels, memory and time. Knows nothing of prompts and models
beyond the `Processor`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from foveal.arena import PixelArena
from foveal.config import ImageConfig
from foveal.errors import FileError, ImageError, InvalidRequest, Overloaded
from foveal.media.cache import EncodedImage, Entry, PixelCache, arena_bytes
from foveal.media.cost import decode_cost_s
from foveal.media.downloads import Downloads
from foveal.media.fetch import Fetcher
from foveal.media.files import pages_of, read_text
from foveal.media.pdf import is_pdf
from foveal.media.pool import Decoder, InProcess, WorkerPool
from foveal.media.protocol import CountPages, Job, Measure, Measured, Pages, Prepare, Refusal, Reply
from foveal.media.refusal import Refused
from foveal.media.room import Room
from foveal.media.source import read_source
from foveal.media.stats import ImageStats
from foveal.models.family import InvalidImageSize, Processor
from foveal.shares import Shares
from foveal.telemetry import Histogram, stage
from foveal.types import Caller, Detail, Image, ImageRef, Page

LOAD_PROCESSOR = "foveal.models.registry:load_worker_processor"
_MAX_WAIT_FOR_ROOM_S = 5.0
_FAR_TOO_LONG = 4  # times the limit of a worker, by an estimate
_MAX_UNREAD = 4096  # of one caller; read, they wait for a worker, where fewer may
_MEASURE_S = 0.005  # reading a header
NOBODY = Caller()
DECODE_BOUNDS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Client:
    """Whose turn it is, and with whom it shares caches."""

    share: str
    salt: bytes


class ImageLoader:
    """Loads the images of requests. Workers start at once, and build `processor` again from `checkpoint`.

    `processor_factory`, "module:function", is called with the checkpoint. Tests pass another.
    """

    def __init__(
        self,
        config: ImageConfig,
        processor: Processor,
        arena: PixelArena,
        checkpoint: Path | str,
        *,
        processor_factory: str = LOAD_PROCESSOR,
    ) -> None:
        self._config = config
        self._processor = processor
        self._arena = arena
        self._decode_s = Histogram(DECODE_BOUNDS_S)
        self._num_decode_failures = 0
        self._num_hits = 0
        self._num_images = 0
        self._thread = ThreadPoolExecutor(1, "images")  # one: more would only compete for the interpreter lock
        self._thread_turns = Shares(1, max_waiting=_MAX_UNREAD)
        self._fetcher = Fetcher(config)
        self._downloads = Downloads(self._fetcher.fetch, config.url_cache_bytes)
        self._file_fetcher = Fetcher(replace(config, max_image_bytes=config.max_file_bytes))
        self._file_downloads = Downloads(self._file_fetcher.fetch, 0)
        self.decoder: Decoder = (
            WorkerPool(config, arena, processor_factory, str(checkpoint))
            if config.num_workers
            else InProcess(processor, arena, config.max_image_pixels)
        )
        self._room = Room(arena.num_bytes, _MAX_WAIT_FOR_ROOM_S)
        self.cache = PixelCache(arena.num_bytes, self._prepare, _MAX_WAIT_FOR_ROOM_S)

    @asynccontextmanager
    async def load(
        self, refs: Sequence[ImageRef], caller: Caller = NOBODY, salt: bytes = b""
    ) -> AsyncIterator[tuple[Image, ...]]:
        """The images in the order of `refs`. Their pixels stay in the arena while the context is open.

        Requests share downloads and pixels where they have the same `salt`, or where the settings say that all do.
        Raises ImageError for the first image that cannot be used, InvalidRequest where all together exceed a budget,
        Overloaded or TooManyRequests where there is no room or no time for them now.
        """
        client = _Client(caller.share, b"" if self._config.shared_caches else salt)
        async with AsyncExitStack() as pins:
            try:
                async with asyncio.timeout(self._config.load_timeout_s):
                    images = await self._identified(refs, client)
                    await pins.enter_async_context(self._room.hold(client.share, images))
                    entries = await self.cache.pin(images)
                    pins.callback(self.cache.unpin, entries)
                    await _each(refs, [_written(ref, entry) for ref, entry in zip(refs, entries, strict=True)])
            except TimeoutError:
                raise self._too_slow() from None
            yield tuple(entry.image for entry in entries)

    async def fetch(self, refs: Sequence[ImageRef], caller: Caller = NOBODY, salt: bytes = b"") -> list[EncodedImage]:
        """The images as they were sent, within all limits that their headers can break. Raises what `load` raises."""
        client = _Client(caller.share, b"" if self._config.shared_caches else salt)
        try:
            async with asyncio.timeout(self._config.load_timeout_s):
                return await self._identified(refs, client)
        except TimeoutError:
            raise self._too_slow() from None

    async def read_file(self, ref: ImageRef, caller: Caller = NOBODY, salt: bytes = b"") -> list[str | ImageRef]:
        """What stands for a file: its text, or its pages as references to images, whose positions are to be counted.

        Raises FileError.
        """
        client = _Client(caller.share, b"" if self._config.shared_caches else salt)
        try:
            async with asyncio.timeout(self._config.load_timeout_s):
                return await self._read(ref, client)
        except Refused as refused:
            raise FileError(ref.position, str(refused)) from None
        except TimeoutError:
            raise Overloaded(
                f"the file was not ready within {self._config.load_timeout_s:g} s; try again later"
            ) from None

    @property
    def stats(self) -> ImageStats:
        return ImageStats(
            num_images=self._num_images,
            num_hits=self._num_hits,
            num_url_hits=self._downloads.num_hits,
            num_fetch_failures=self._downloads.num_failures,
            num_decode_failures=self._num_decode_failures,
            fetch_s=self._downloads.fetch_s,
            decode_s=self._decode_s,
        )

    async def close(self) -> None:
        """Ends downloads and workers. No `load` may be open."""
        for downloads, fetcher in (
            (self._downloads, self._fetcher),
            (self._file_downloads, self._file_fetcher),
        ):
            await downloads.close()
            await fetcher.close()
        await self.cache.close()
        await self.decoder.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _identified(self, refs: Sequence[ImageRef], client: _Client) -> list[EncodedImage]:
        self._check_count(refs)
        images = await _each(refs, [self._identify(ref, client) for ref in refs])
        self._check_total(images)
        return images

    async def _identify(self, ref: ImageRef, client: _Client) -> EncodedImage:
        _check_budget(ref.detail, self._processor)
        encoded = await self._encoded(ref, client)
        image_hash = await self._in_thread(
            client, hash_image, encoded, ref.detail, self._processor.fingerprint, client.salt, ref.page
        )
        layout = self.cache.layout(image_hash)
        self._num_images += 1
        self._num_hits += layout is not None
        if layout is not None:
            return EncodedImage(image_hash, encoded, layout, client.share, decode_cost_s(layout.size), ref.page)
        measured = await self._run(Measure(encoded, ref.page), client.share, _MEASURE_S)
        assert isinstance(measured, Measured)
        if measured.cost_s > _FAR_TOO_LONG * self._config.decode_timeout_s:
            raise Refused("decoding would take too long: it is large and has many scans; save it again as PNG or JPEG")
        try:
            layout = await self._in_thread(client, self._processor.layout, measured.size, ref.detail)
        except InvalidImageSize as error:
            raise Refused(str(error)) from None
        return EncodedImage(
            image_hash, encoded, layout, client.share, measured.cost_s, ref.page, is_plain=measured.is_plain
        )

    async def _encoded(self, ref: ImageRef, client: _Client) -> bytes:
        if isinstance(ref.source, bytes):
            return ref.source
        found = await self._in_thread(client, read_source, ref.source, self._config.max_image_bytes)
        if isinstance(found, bytes):
            return found
        with stage("fetch", image=ref.position):
            return await self._downloads.get(found, client.share, client.salt)

    async def _read(self, ref: ImageRef, client: _Client) -> list[str | ImageRef]:
        """The file's parts. Raises Refused."""
        assert isinstance(ref.source, str)
        found = await self._in_thread(client, read_source, ref.source, self._config.max_file_bytes)
        encoded = (
            found if isinstance(found, bytes) else await self._file_downloads.get(found, client.share, client.salt)
        )
        if not is_pdf(encoded):
            return [await self._in_thread(client, read_text, encoded, ref.file)]
        counted = await self._run(CountPages(encoded), client.share, _MEASURE_S)
        assert isinstance(counted, Pages)
        return list(pages_of(ref, encoded, counted.num_pages, self._config))

    async def _in_thread(self, client: _Client, function: Callable[..., T], *arguments: object) -> T:
        return await self._thread_turns.run(client.share, self._thread, partial(function, *arguments))

    async def _prepare(self, image: EncodedImage, place: Image) -> None:
        started_s = time.monotonic()
        await self._run(Prepare(image.encoded, place.layout, place.pixels, image.page), image.caller, image.cost_s)
        self._decode_s.observe(time.monotonic() - started_s)

    async def _run(self, job: Job, caller: str, cost_s: float) -> Reply:
        reply = await self.decoder.run(job, caller, cost_s)
        if isinstance(reply, Refusal):
            self._num_decode_failures += 1
            raise Refused(reply.sentence)
        return reply

    def _too_slow(self) -> Overloaded:
        limit_s = self._config.load_timeout_s
        return Overloaded(f"the images were not ready within {limit_s:g} s; send fewer, or try again")

    def _check_count(self, refs: Sequence[ImageRef]) -> None:
        if len(refs) > self._config.max_num_images:
            raise InvalidRequest(
                f"{len(refs)} images; a request may have at most {self._config.max_num_images}", param="images"
            )

    def _check_total(self, images: Sequence[EncodedImage]) -> None:
        num_pixels = sum(image.layout.size.width * image.layout.size.height for image in images)
        if num_pixels > self._config.max_request_pixels:
            raise InvalidRequest(
                f"the images have {num_pixels:,} pixels together, the limit is {self._config.max_request_pixels:,}; "
                "send fewer, or scale them down",
                param="images",
            )
        if arena_bytes(images) > self._arena.num_bytes:
            raise InvalidRequest(
                "the images together need more memory than this server has for pictures; send fewer", param="images"
            )


def hash_image(encoded: bytes, detail: Detail, fingerprint: str, salt: bytes = b"", page: Page | None = None) -> bytes:
    """SHA-256 over the salt and all that determines the pixels. The image's bytes come last and can imitate nothing."""
    of_page = "" if page is None else f"{page}"
    digest = hashlib.sha256(hashlib.sha256(salt).digest() + f"{fingerprint}\0{detail}\0{of_page}\0".encode())
    digest.update(encoded)
    return digest.digest()


def _check_budget(detail: Detail, processor: Processor) -> None:
    """Raises Refused for a number of tokens that images of this model cannot have."""
    budgets: tuple[int, ...] = getattr(processor, "budgets", ())
    if isinstance(detail, int) and detail not in budgets:
        known = f"it must be one of {', '.join(map(str, budgets))}" if budgets else "this model's images have no budget"
        raise Refused(f"max_soft_tokens is {detail}; {known}")


async def _each(refs: Sequence[ImageRef], work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order. Waits for all, and raises for the first image that failed, so timing has no influence."""
    results = await asyncio.gather(*work, return_exceptions=True)
    done: list[T] = []
    for ref, result in zip(refs, results, strict=True):
        if isinstance(result, Refused):
            of_page = f"page {ref.page.number} of a PDF: " if ref.page else ""
            raise ImageError(ref.position, f"{of_page}{result}")
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done


async def _written(ref: ImageRef, entry: Entry) -> None:
    """Wait for the pixels. Raises why they cannot be there."""
    if entry.written.done():
        return entry.written.result()
    with stage("decode image", image=ref.position):
        await asyncio.shield(entry.written)
