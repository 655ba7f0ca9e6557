"""The image cache: prepared pixels in the arena, found by a hash of the bytes, pinned while in use.

Knows nothing of URLs, formats or requests: it gets images with their hash and layout, and a function that writes the
pixels of one. Bounded by the arena. Of the images that are not pinned, the least recently used one is evicted first.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from foveal.errors import Overloaded
from foveal.media.slots import Slots, slot_bytes
from foveal.media.tasks import BackgroundTasks
from foveal.types import Image, ImageLayout, Page, PixelRef

NO_ROOM = "the memory for pictures is in use; try again in a moment"


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image as it was sent, with the layout that its pixels will have."""

    hash: bytes
    encoded: bytes = field(repr=False)
    layout: ImageLayout
    caller: str = ""  # whose turn its decoding takes
    cost_s: float = 0.0  # of decoding it
    page: Page | None = None  # which page it is of a PDF
    is_plain: bool = False  # known to be a picture that every decoder shows alike (protocol.Measured)


@dataclass(eq=False, slots=True)
class Entry:
    """An image with a slot in the arena. `written` ends when its pixels are there, or raises why they cannot be."""

    image: Image
    written: asyncio.Task[None]
    num_pins: int = 0  # one for each request that uses the image, and one while the task that writes it runs


class PixelCache:
    """Owns an arena of `num_bytes`. `write` writes an image's pixels into its slot; it may raise anything."""

    def __init__(
        self, num_bytes: int, write: Callable[[EncodedImage, Image], Coroutine[Any, Any, None]], max_wait_s: float
    ) -> None:
        self._write = write
        self._max_wait_s = max_wait_s
        self._slots = Slots(num_bytes)
        self._entries: dict[bytes, Entry] = {}  # by hash, the most recently used last
        self._turn = asyncio.Lock()
        self._unpinned = asyncio.Event()
        self._tasks = BackgroundTasks()

    @property
    def num_taken_bytes(self) -> int:
        return self._slots.num_taken_bytes

    @property
    def num_pinned(self) -> int:
        return sum(entry.num_pins > 0 for entry in self._entries.values())

    def layout(self, image_hash: bytes) -> ImageLayout | None:
        """The layout of a cached image; None for any other."""
        entry = self._entries.get(image_hash)
        return entry.image.layout if entry is not None else None

    async def pin(self, images: Sequence[EncodedImage]) -> list[Entry]:
        """Pin each image, so that it keeps its slot until `unpin`. Pixels that are missing are being written.

        Requests allocate slots one after the other, each for all its images: two requests that each hold half of what
        they need would wait for each other. Raises Overloaded when there is no room for `max_wait_s`.
        """
        entries: list[Entry] = []
        try:
            if all(image.hash in self._entries for image in images):  # these need no room and do not queue for it
                entries += [self._pin_known(image.hash) for image in images]
                return entries
            async with asyncio.timeout(self._max_wait_s), self._turn:
                for image in images:
                    entries.append(await self._pin_one(image))
            return entries
        except TimeoutError:
            self.unpin(entries)
            raise Overloaded(NO_ROOM) from None
        except BaseException:
            self.unpin(entries)
            raise

    def unpin(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            entry.num_pins -= 1
            if entry.num_pins == 0:
                if self._entries.get(entry.image.hash) is not entry:  # it could not be written, and was removed
                    self._slots.free(entry.image.pixels.offset)
                self._unpinned.set()
            elif entry.num_pins == 1 and not entry.written.done():  # the last request has left
                self._forget(entry)  # so that the next one does not join a task that ends
                entry.written.cancel()

    async def close(self) -> None:
        await self._tasks.close()

    async def _pin_one(self, image: EncodedImage) -> Entry:
        while image.hash not in self._entries:
            offset = self._allocate(math.prod(image.layout.pixel_shape))
            if offset is not None:
                self._add(image, offset)
                break
            self._unpinned.clear()
            await self._unpinned.wait()
        return self._pin_known(image.hash)

    def _pin_known(self, image_hash: bytes) -> Entry:
        entry = self._entries[image_hash] = self._entries.pop(image_hash)  # to the end
        entry.num_pins += 1
        return entry

    def _allocate(self, num_bytes: int) -> int | None:
        offset = self._slots.allocate(num_bytes)
        idle = [entry for entry in self._entries.values() if entry.num_pins == 0]
        while offset is None and idle:
            entry = idle.pop(0)
            del self._entries[entry.image.hash]
            self._slots.free(entry.image.pixels.offset)
            offset = self._slots.allocate(num_bytes)
        return offset

    def _add(self, image: EncodedImage, offset: int) -> None:
        place = Image(image.hash, PixelRef(offset, image.layout.pixel_shape), image.layout)
        entry = Entry(place, self._tasks.start(self._write(image, place)), num_pins=1)
        entry.written.add_done_callback(lambda task: self._ended(entry, task))
        self._entries[image.hash] = entry

    def _ended(self, entry: Entry, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._forget(entry)  # the next request tries again
        self.unpin([entry])

    def _forget(self, entry: Entry) -> None:
        if self._entries.get(entry.image.hash) is entry:
            del self._entries[entry.image.hash]


def arena_bytes(images: Sequence[EncodedImage]) -> int:
    """The arena bytes that these need together. An image that comes twice needs them once."""
    layouts = {image.hash: image.layout for image in images}
    return sum(slot_bytes(math.prod(layout.pixel_shape)) for layout in layouts.values())
