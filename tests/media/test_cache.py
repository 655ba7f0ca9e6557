"""The image cache: pixels are found by content, pinned while they are used, and evicted when room is needed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from foveal.errors import Overloaded
from foveal.media.cache import EncodedImage, Entry, PixelCache, arena_bytes
from foveal.media.tasks import ended
from foveal.types import Image, ImageLayout, Size

pytestmark = pytest.mark.anyio

SLOT = 64


def image(name: str, num_bytes: int = SLOT) -> EncodedImage:
    layout = ImageLayout(Size(1, 1), (num_bytes,), grid=(1,), num_crops=1, num_tokens=1)
    return EncodedImage(name.encode(), name.encode(), layout)


@dataclass
class FakeDecoder:
    """Writes nothing, once `open` is set; fails for the names in `broken`. A stubborn one cannot be cancelled."""

    stubborn: bool = False
    open: asyncio.Event = field(default_factory=asyncio.Event)
    broken: set[str] = field(default_factory=set)
    written: list[str] = field(default_factory=list)

    async def write(self, image: EncodedImage, place: Image) -> None:
        waiting = asyncio.create_task(self.open.wait())
        await (ended(waiting) if self.stubborn else waiting)
        self.written.append(image.encoded.decode())
        if image.encoded.decode() in self.broken:
            raise ValueError(image.encoded)


def cache(decoder: FakeDecoder, num_slots: int, *, is_open: bool = True, max_wait_s: float = 60) -> PixelCache:
    if is_open:
        decoder.open.set()
    return PixelCache(num_slots * SLOT, decoder.write, max_wait_s)


async def load(cache: PixelCache, *images: EncodedImage) -> list[Entry]:
    entries = await cache.pin(images)
    await asyncio.gather(*(asyncio.shield(entry.written) for entry in entries))
    return entries


async def test_an_image_is_written_once() -> None:
    decoder = FakeDecoder()
    pixels = cache(decoder, 4)

    first, second = await load(pixels, image("a")), await load(pixels, image("a"))

    assert first == second
    assert decoder.written == ["a"]
    assert pixels.layout(b"a") == image("a").layout
    assert pixels.layout(b"b") is None


async def test_an_image_that_comes_twice_in_a_request_has_one_slot() -> None:
    decoder = FakeDecoder()
    pixels = cache(decoder, 1)

    one, other = await load(pixels, image("a"), image("a"))
    pixels.unpin([one, other])

    assert one is other
    assert pixels.num_pinned == 0
    assert arena_bytes([image("a"), image("a")]) == SLOT


async def test_those_who_ask_at_once_share_one_decoding() -> None:
    decoder = FakeDecoder()
    pixels = cache(decoder, 4, is_open=False)
    loads = [asyncio.create_task(load(pixels, image("a"))) for _ in range(3)]
    await asyncio.sleep(0)
    loads[0].cancel()  # and the first may leave
    decoder.open.set()

    results = await asyncio.gather(*loads, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1] == results[2]
    assert decoder.written == ["a"]


async def test_decoding_ends_with_the_last_who_wants_it() -> None:
    decoder = FakeDecoder()
    pixels = cache(decoder, 1, is_open=False)
    first, second = await pixels.pin([image("a")]), await pixels.pin([image("a")])
    await asyncio.sleep(0)
    pixels.unpin(first)
    assert not first[0].written.cancelling()  # another waits

    pixels.unpin(second)
    decoder.open.set()
    await load(pixels, image("a"))  # whose decoding is its own, and for which there is room

    assert first[0].written.cancelled()
    assert decoder.written == ["a"]


async def test_the_least_recently_used_is_evicted_first() -> None:
    decoder = FakeDecoder()
    pixels = cache(decoder, 2)
    for name in ("a", "b", "a", "c"):  # b goes
        pixels.unpin(await load(pixels, image(name)))

    assert pixels.layout(b"b") is None
    assert pixels.layout(b"a") is not None
    assert pixels.num_taken_bytes == 2 * SLOT


async def test_pinned_images_stay() -> None:
    pixels = cache(FakeDecoder(), 2)
    held = await load(pixels, image("a"))
    for name in ("b", "c", "d"):
        pixels.unpin(await load(pixels, image(name)))

    assert pixels.layout(b"a") is not None
    assert held[0].image.pixels.offset == 0


async def test_no_room_for_too_long() -> None:
    pixels = cache(FakeDecoder(), 2, max_wait_s=0.5)
    held = await load(pixels, image("a"))

    with pytest.raises(Overloaded, match="the memory for pictures is in use; try again"):
        await pixels.pin([image("b"), image("c")])
    pixels.unpin(held)

    assert pixels.num_pinned <= 1  # b may still be being written
    await load(pixels, image("c"), image("d"))


async def test_room_that_comes_in_time() -> None:
    pixels = cache(FakeDecoder(), 1)
    held = await load(pixels, image("a"))
    waiting = asyncio.create_task(load(pixels, image("b")))
    await asyncio.sleep(0.01)
    pixels.unpin(held)

    assert (await waiting)[0].image.hash == b"b"


async def test_cached_images_do_not_queue_for_room() -> None:
    pixels = cache(FakeDecoder(), 1)
    held = await load(pixels, image("a"))
    waiting = asyncio.create_task(load(pixels, image("b")))
    await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        again = await load(pixels, image("a"))
    pixels.unpin([*held, *again])
    await waiting


async def test_two_requests_that_need_all_room_do_not_wait_for_each_other() -> None:
    pixels = cache(FakeDecoder(), 4)

    async def request(prefix: str) -> None:
        entries = await load(pixels, *(image(f"{prefix}{i}") for i in range(4)))
        await asyncio.sleep(0.01)
        pixels.unpin(entries)

    async with asyncio.timeout(30):
        await asyncio.gather(*(request(prefix) for prefix in "abcd"))

    assert pixels.num_pinned == 0


async def test_a_failure_is_not_kept_and_leaves_no_bytes_behind() -> None:
    decoder = FakeDecoder(broken={"a"})
    pixels = cache(decoder, 1)
    for _ in range(3):
        entries = await pixels.pin([image("a")])
        with pytest.raises(ValueError, match="a"):
            await asyncio.shield(entries[0].written)
        pixels.unpin(entries)

    assert decoder.written == ["a"] * 3
    assert pixels.num_taken_bytes == 0


async def test_a_slot_that_is_being_written_is_not_reused() -> None:
    decoder = FakeDecoder(stubborn=True)
    pixels = cache(decoder, 1, is_open=False, max_wait_s=0.5)
    held = await pixels.pin([image("a")])
    await asyncio.sleep(0)
    pixels.unpin(held)  # the client has gone, the decoder has begun and not ended

    with pytest.raises(Overloaded):
        await pixels.pin([image("b")])
    decoder.open.set()
    assert (await load(pixels, image("b")))[0].image.hash == b"b"
