"""Image references -> pixels: every source, the budgets of a request, and no work done twice."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image as Pillow

from foveal.errors import ImageError, InvalidRequest, Overloaded
from foveal.media.loader import hash_image
from foveal.media.protocol import Job, Measure, Prepare, Reply
from foveal.telemetry import collecting_stages
from foveal.types import Caller, Image, ImageRef, Size
from tests.accounting.builders import until
from tests.media.builders import Bench, data_url, encode, image_loader, plain, png, refs
from tests.media.host import Page, redirect, serving
from tests.media.tiny import SLOT_BYTES, TRAP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from foveal.media.pool import Decoder
    from tests.media.host import Host

pytestmark = pytest.mark.anyio

RED, WHITE, GREY = (255, 0, 0), (255, 255, 255), (128, 128, 128)
ENDLESS_S = 3600.0
SLOW = Page(png(), delay_s=ENDLESS_S)


def rotated() -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return encode(plain("red", (8, 6)), "JPEG", exif=exif)


def with_limit(num_bytes: int) -> bytes:
    """A good PNG of exactly so many bytes."""
    picture = png()
    return picture + bytes(num_bytes - len(picture))


PAGES = {
    "/red.png": Page(png(), headers=("Content-Type: text/plain",)),
    "/moved": redirect("/red.png"),
    "/private": redirect("http://169.254.169.254/latest/"),
    "/loop": redirect("/loop"),
    "/slow.png": SLOW,
    "/large.png": Page(with_limit(5_000_000)),
    "/limit.png": Page(with_limit(4_999_999)),
    "/a.pdf": Page(b"%PDF-1.7\n"),
    "/page.html": Page(b"<html>sign in</html>"),
    "/cut.png": Page(png(size=(300, 200))[:-30]),
    "/empty": Page(b""),
}


@asynccontextmanager
async def pictures(**settings: Any) -> AsyncIterator[tuple[Bench, Host]]:
    async with serving(PAGES) as host, image_loader(**settings) as bench:
        yield bench, host


async def load(bench: Bench, wanted: list[ImageRef]) -> tuple[Image, ...]:
    """Load and let go at once."""
    async with bench.loader.load(wanted) as images:
        return images


@dataclass
class CountingDecoder:
    decoder: Decoder
    jobs: list[Job] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)

    async def run(self, job: Job, caller: str = "", cost_s: float = 0.0) -> Reply:
        self.jobs.append(job)
        self.callers.append(caller)
        return await self.decoder.run(job, caller, cost_s)

    async def close(self) -> None:
        await self.decoder.close()


# --- source x outcome -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "size", "pixel"),
    [
        pytest.param("/red.png", Size(8, 6), RED, id="URL"),
        pytest.param("/red.png#transform=inline", Size(8, 6), RED, id="URL with a fragment"),
        pytest.param("/moved", Size(8, 6), RED, id="redirect"),
        pytest.param("/limit.png", Size(8, 6), RED, id="URL of 4,999,999 bytes"),
        pytest.param(data_url(png()), Size(8, 6), RED, id="data URL"),
        pytest.param(data_url(png(), "image/jpeg"), Size(8, 6), RED, id="wrong MIME type"),
        pytest.param(base64.b64encode(png()).decode(), Size(8, 6), RED, id="bare base64"),
        pytest.param(data_url(with_limit(4_999_999)), Size(8, 6), RED, id="base64 of 4,999,999 bytes"),
        pytest.param(
            data_url(encode(plain("red"), "GIF", save_all=True, append_images=[plain("blue")])),
            Size(8, 6),
            RED,
            id="animated GIF",
        ),
        pytest.param(data_url(encode(plain(0x8040, mode="I;16"), "TIFF")), Size(8, 6), GREY, id="16-bit TIFF"),
        pytest.param(data_url(encode(plain((0, 255, 255, 0), mode="CMYK"), "JPEG")), Size(8, 6), RED, id="CMYK JPEG"),
        pytest.param(data_url(rotated()), Size(6, 8), RED, id="EXIF-rotated JPEG"),
        pytest.param(data_url(encode(plain((0, 0, 0, 0), mode="RGBA"))), Size(8, 6), WHITE, id="alpha"),
        pytest.param(data_url(png(size=(1, 1))), Size(1, 1), RED, id="1 x 1"),
        pytest.param(data_url(png(size=(1, 100))), Size(1, 100), RED, id="1 x 100"),
    ],
)
async def test_sources_that_become_pixels(source: str, size: Size, pixel: tuple[int, int, int]) -> None:
    async with pictures() as (bench, host):
        source = host.url(source) if source.startswith("/") and len(source) < 100 else source
        async with bench.loader.load(refs(source)) as images:
            pixels = bench.arena.view(images[0].pixels)

            assert images[0].layout.size == size
            assert pixels.shape == (28, 28, 3)
            np.testing.assert_allclose(pixels[0, 0], pixel, atol=4)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        pytest.param("/missing", "the server answered with status 404; check that the URL opens", id="404"),
        pytest.param("/private", "this address is not allowed", id="redirect to a private address"),
        pytest.param("/loop", "more than 3 redirects; use the address that they lead to", id="redirects without end"),
        pytest.param("/large.png", "larger than 4,999,999 bytes, the limit for each image", id="URL too large"),
        pytest.param("/a.pdf", "a PDF, which is no picture; send it as a file", id="PDF"),
        pytest.param("/page.html", "a web page and no picture; check that", id="a sign-in page"),
        pytest.param("/cut.png", "the picture is damaged or incomplete; save it again", id="truncated"),
        pytest.param("/empty", "the image is empty; send", id="0 bytes"),
        pytest.param(data_url(b""), "the image is empty; send", id="data URL of 0 bytes"),
        pytest.param(data_url(with_limit(5_000_000)), "larger than 4,999,999 bytes, the limit", id="base64 too large"),
        pytest.param("http://10.0.0.1/a.png", "this address is not allowed", id="private address"),
        pytest.param("https://93.184.216.34:22/", "this address is not allowed", id="odd port"),
        pytest.param("https://a:b@93.184.216.34/", "this address is not allowed", id="credentials"),
        pytest.param("file:///etc/hostname", "this address is not allowed", id="file"),
        pytest.param("/etc/hostname", "neither a URL nor valid base64; send https://", id="path"),
        pytest.param("data:image/png;base64,%%%", "neither a URL nor valid base64; send https://", id="not base64"),
        pytest.param(data_url(png(size=(101, 1))), "the picture is too narrow; its longer side", id="too narrow"),
        pytest.param(data_url(png(size=(7072, 7072))), "more than 50,000,000 pixels, the limit", id="too many pixels"),
    ],
)
async def test_sources_that_are_refused_by_position(source: str, sentence: str) -> None:
    await check_refusal(source, sentence)


async def test_a_source_that_is_too_slow_is_refused_by_position() -> None:
    sentence = "the download took longer than 0.5 s; use a faster host or send"
    await check_refusal("/slow.png", sentence, fetch_timeout_s=0.5)


async def check_refusal(source: str, sentence: str, **settings: Any) -> None:
    async with pictures(**settings) as (bench, host):
        source = host.url(source) if source in PAGES or source == "/missing" else source
        with pytest.raises(ImageError) as refused:
            await load(bench, refs(png(), source))

        assert str(refused.value).startswith(f"image 2: {sentence}")
        assert (refused.value.status, refused.value.position, refused.value.param) == (400, 2, "images")
        assert bench.loader.cache.num_pinned == 0


# --- together ---------------------------------------------------------------------------------------------------------


async def test_images_keep_their_order_and_sources_may_be_mixed() -> None:
    async with serving({"/slow.png": Page(png("blue"), delay_s=0.2)}) as host, image_loader() as bench:
        images = await load(bench, refs(host.url("/slow.png"), png("red"), png("lime")))
        colours = [tuple(bench.arena.view(image.pixels)[0, 0]) for image in images]

    assert colours == [(0, 0, 255), (255, 0, 0), (0, 255, 0)]


async def test_no_images() -> None:
    async with image_loader() as bench, bench.loader.load([]) as images:
        assert images == ()


async def test_downloads_run_at_once() -> None:
    gate = asyncio.Event()
    pages = {f"/{i}.png": Page(png((i, 0, 0)), gate=gate) for i in range(10)}
    async with serving(pages) as host, image_loader() as bench:
        loading = asyncio.create_task(load(bench, refs(*map(host.url, pages))))
        await host.asked(10)  # and has answered none
        gate.set()

        assert len(await loading) == 10


async def test_of_several_bad_images_the_first_is_named() -> None:
    async with serving({}) as host, image_loader() as bench:
        for _ in range(5):
            with pytest.raises(ImageError, match=r"^image 2: "):
                await load(bench, refs(png(), host.url("/missing"), b"no picture", png()))


@pytest.mark.parametrize(("num_images", "fits"), [(30, True), (31, False)])
async def test_the_limit_on_images(num_images: int, fits: bool) -> None:
    async with image_loader() as bench:
        wanted = refs(*[png()] * num_images)
        if fits:
            assert len(await load(bench, wanted)) == 30
        else:
            with pytest.raises(InvalidRequest, match=r"^31 images; a request may have at most 30$"):
                await load(bench, wanted)


@pytest.mark.parametrize(("size", "fits"), [((10, 10), True), ((10, 11), False)])
async def test_the_limit_on_pixels_of_a_request(size: tuple[int, int], fits: bool) -> None:
    async with image_loader(max_request_pixels=200) as bench:
        wanted = refs(png("red", size), png("blue", (10, 10)))
        if fits:
            assert len(await load(bench, wanted)) == 2
        else:
            with pytest.raises(InvalidRequest, match="the images have 210 pixels together, the limit is 200"):
                await load(bench, wanted)


async def test_more_images_than_the_arena_holds() -> None:
    async with image_loader(arena_bytes=2 * SLOT_BYTES) as bench:
        with pytest.raises(InvalidRequest, match="the images together need more memory") as refused:
            await load(bench, refs(png("red"), png("lime"), png("blue")))

        assert refused.value.status == 400
        assert bench.loader.cache.num_pinned == 0


async def test_a_full_arena_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.media.loader._MAX_WAIT_FOR_ROOM_S", 0.1)
    async with image_loader(arena_bytes=SLOT_BYTES) as bench:
        async with bench.loader.load(refs(png("red"))):
            with pytest.raises(Overloaded, match="the memory for pictures is in use; try again"):
                await load(bench, refs(png("blue")))
        assert len(await load(bench, refs(png("blue")))) == 1


async def test_the_limit_on_the_time_of_a_request() -> None:
    async with serving({"/slow.png": SLOW}) as host, image_loader(load_timeout_s=0.2) as bench:
        with pytest.raises(Overloaded, match=r"the images were not ready within 0\.2 s"):
            await load(bench, refs(host.url("/slow.png")))


# --- nothing twice ----------------------------------------------------------------------------------------------------


async def test_pixels_stay_while_the_context_is_open_and_may_go_after() -> None:
    async with image_loader(arena_bytes=2 * SLOT_BYTES) as bench:
        async with bench.loader.load(refs(png("red"))) as (image,):
            for i in range(5):
                async with bench.loader.load(refs(png((0, 0, i))), Caller("another")):
                    pass
            assert np.all(bench.arena.view(image.pixels) == RED)

        assert bench.loader.cache.num_pinned == 0


async def test_a_caller_whose_pixels_stay_leaves_room_for_another() -> None:
    """Ten requests of one picture each would fill the arena; half of it is left."""
    attacker, bystander = Caller("r1", "attacker"), Caller("r2", "bystander")
    async with image_loader(arena_bytes=8 * SLOT_BYTES) as bench, asyncio.TaskGroup() as attacks:

        async def hold(number: int) -> None:
            async with bench.loader.load(refs(png((0, 0, number))), attacker):
                await asyncio.Event().wait()

        running = [attacks.create_task(hold(number)) for number in range(10)]
        await until(lambda: bench.loader.cache.num_pinned == 4)
        for number in range(3):
            async with bench.loader.load(refs(png((0, number, 0))), bystander):
                assert bench.loader.cache.num_pinned <= 5
        for task in running:
            task.cancel()


async def test_the_same_bytes_are_decoded_once_however_they_come() -> None:
    async with serving(PAGES) as host, image_loader() as bench:
        counted = bench.loader.decoder = CountingDecoder(bench.loader.decoder)
        images = await load(bench, refs(png(), host.url("/red.png"), png()))
        again = await load(bench, refs(png()))

    assert len({image.hash for image in (*images, *again)}) == 1
    assert len({image.pixels for image in (*images, *again)}) == 1
    assert sum(isinstance(job, Prepare) for job in counted.jobs) == 1
    assert isinstance(counted.jobs[-1], Prepare)  # and once it is there, it is not even measured


async def test_what_happens_is_counted() -> None:
    async with serving(PAGES) as host, image_loader() as bench:
        await load(bench, refs(png(), host.url("/red.png")))
        await load(bench, refs(host.url("/red.png")))
        with pytest.raises(ImageError):
            await load(bench, refs(data_url(b"no picture")))
        stats = bench.loader.stats

    assert (stats.num_images, stats.num_decode_failures, sum(stats.decode_s.counts)) == (4, 1, 1)
    assert stats.num_hits >= 1  # the second of two that come at once may or may not be one
    assert (sum(stats.fetch_s.counts), stats.num_fetch_failures) == (1, 0)


async def test_the_key_covers_all_that_decides_the_pixels() -> None:
    keys = {
        hash_image(encoded, detail, fingerprint, salt)
        for salt in (b"", b"a")
        for encoded in (b"a", b"b")
        for detail in ("low", "high", "auto")
        for fingerprint in ("one", "two")
    }

    assert len(keys) == 24
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize(("shared_caches", "num_times"), [(False, 2), (True, 1)])
async def test_accounts_share_neither_bytes_nor_pixels_unless_the_operator_says_so(
    shared_caches: bool, num_times: int
) -> None:
    async with serving(PAGES) as host, image_loader(shared_caches=shared_caches) as bench:
        counted = bench.loader.decoder = CountingDecoder(bench.loader.decoder)
        for salt in (b"alice", b"bob", b"alice"):
            async with bench.loader.load(refs(host.url("/red.png")), Caller("r", "k", salt.decode()), salt):
                pass

    assert len(host.requests) == num_times
    assert sum(isinstance(job, Prepare) for job in counted.jobs) == num_times
    assert sum(isinstance(job, Measure) for job in counted.jobs) == num_times  # a size is a secret, too


async def test_who_sends_many_pictures_in_base64_does_not_delay_the_reading_of_anothers() -> None:
    async def one(bench: Bench, width: int, key: str) -> None:
        async with bench.loader.load(refs(png(size=(width, 6))), Caller(f"r{width}", key)):
            pass

    async with image_loader() as bench:
        counted = bench.loader.decoder = CountingDecoder(bench.loader.decoder)
        attack = [asyncio.create_task(one(bench, 8 + number, "attacker")) for number in range(20)]
        await asyncio.sleep(0)
        await one(bench, 7, "bystander")
        await asyncio.gather(*attack)

    order = [caller for caller, job in zip(counted.callers, counted.jobs, strict=True) if isinstance(job, Measure)]
    assert order.index("key bystander") < 5


async def test_a_budget_that_the_model_s_pictures_do_not_have_is_refused_before_a_download() -> None:
    async with image_loader() as bench:
        with pytest.raises(ImageError, match="max_soft_tokens is 280; this model's images have no budget"):
            await load(bench, [ImageRef("http://127.0.0.1:9/a.png", 1, 280)])


async def test_a_budget_is_one_of_those_that_they_have_and_reaches_the_key() -> None:
    async with image_loader(budgets=(4, 16)) as bench:
        small, large = await load(bench, [ImageRef(data_url(png()), 1, 4), ImageRef(data_url(png()), 2, 16)])
        assert small.hash != large.hash
        with pytest.raises(ImageError, match="max_soft_tokens is 5; it must be one of 4, 16"):
            await load(bench, [ImageRef(data_url(png()), 1, 5)])


async def test_detail_reaches_the_key() -> None:
    async with image_loader() as bench:
        wanted = [ImageRef(data_url(png()), 1, "low"), ImageRef(data_url(png()), 2, "high")]
        async with bench.loader.load(wanted) as (low, high):
            assert low.hash != high.hash


async def test_a_url_is_downloaded_once_for_all_who_ask_at_once_and_kept() -> None:
    async with serving({"/a.png": Page(png(), delay_s=0.1)}) as host, image_loader() as bench:

        async def request() -> bytes:
            return (await load(bench, refs(host.url("/a.png"))))[0].hash

        hashes = await asyncio.gather(*(request() for _ in range(5)))
        await request()

    assert len(set(hashes)) == 1
    assert len(host.requests) == 1


async def test_a_url_that_may_not_be_stored_is_fetched_each_time() -> None:
    page = Page(png(), headers=("Cache-Control: no-store",))
    async with serving({"/a.png": page}) as host, image_loader() as bench:
        for _ in range(2):
            await load(bench, refs(host.url("/a.png")))

    assert len(host.requests) == 2


async def test_a_request_waits_for_downloads_and_for_pixels_that_are_not_there_yet() -> None:
    async with serving({"/a.png": Page(png())}) as host, image_loader() as bench:
        wanted = refs(png("blue"), host.url("/a.png"))
        with collecting_stages() as stages:
            await load(bench, wanted)
            await load(bench, wanted)

    found = [(each.name, each.facts["image"]) for each in stages]
    assert found == [("fetch", 2), ("decode image", 1), ("decode image", 2), ("fetch", 2)]


async def test_a_client_who_leaves_gives_everything_back_and_spoils_nothing_for_others() -> None:
    gate = asyncio.Event()
    async with serving({"/a.png": Page(png(), gate=gate)}) as host, image_loader() as bench:

        async def request() -> bytes:
            return (await load(bench, refs(host.url("/a.png"))))[0].hash

        first, second = asyncio.create_task(request()), asyncio.create_task(request())
        await host.asked(1)
        first.cancel()
        gate.set()
        results = await asyncio.gather(first, second, return_exceptions=True)

        assert isinstance(results[0], asyncio.CancelledError)
        assert isinstance(results[1], bytes)
        assert bench.loader.cache.num_pinned == 0


async def test_an_image_that_hangs_its_decoder_fails_alone() -> None:
    async with image_loader(num_workers=1, trap="hang", decode_timeout_s=2.0) as bench:
        with pytest.raises(ImageError, match=r"^image 2: decoding took longer than 2 s;"):
            await load(bench, refs(png(), png("red", TRAP)))
        async with bench.loader.load(refs(png("blue"))) as (image,):
            assert np.all(bench.arena.view(image.pixels) == (0, 0, 255))

        assert bench.loader.cache.num_taken_bytes == 2 * SLOT_BYTES  # the two good ones; the other's slot is free
