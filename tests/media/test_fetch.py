"""Downloads: what is connected to, what is sent, and every limit."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpcore
import pytest

from foveal import __version__
from foveal.config import ImageConfig
from foveal.media.addresses import Guard
from foveal.media.fetch import DEFAULT_FRESH_S, CheckedNetwork, Download, Fetcher, freshness_s
from foveal.media.refusal import Refused
from foveal.media.source import parse_url
from tests.media.host import Page, redirect, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

pytestmark = pytest.mark.anyio

CERTIFICATE = Path(__file__).parent / "data" / "pictures.test.pem"  # self-signed, for the name pictures.test
ENDLESS_S = 3600.0
GZIP = ("Content-Encoding: gzip",)
NOT_ALLOWED = "^this address is not allowed$"


class Names:
    """A name service: each lookup of a name takes the next of its answers, the last one for ever."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name.replace("_", "."): list(lookups) for name, lookups in answers.items()}
        self.lookups: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.lookups.append(host)
        lookups = self._answers.get(host, [[host]])
        return lookups.pop(0) if len(lookups) > 1 else lookups[0]


@asynccontextmanager
async def fetching(
    names: Names | None = None, tls: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[Fetcher]:
    local: dict[str, Any] = {"allowed_hosts": ("127.0.0.1",), "max_image_bytes": 1000, "fetch_timeout_s": 60.0}
    fetcher = Fetcher(ImageConfig(**local | settings), names or Names(), tls)
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def fetch_one(page: Page | Mapping[str, Page], path: str = "/a.png", **settings: Any) -> Download:
    pages = {path: page} if isinstance(page, Page) else page
    async with serving(pages) as host, fetching(**settings) as fetcher:
        return await fetcher.fetch(parse_url(host.url(path)))


async def test_the_body_of_a_page() -> None:
    download = await fetch_one(Page(b"picture"))

    assert download == Download(b"picture", DEFAULT_FRESH_S)


@pytest.mark.parametrize("coding", ["", "identity", "utf-8", "UTF-8", "aws-chunked", "aws-chunked,", "binary", "gzip"])
async def test_a_body_that_is_plain_whatever_is_said_of_it(coding: str) -> None:
    assert (await fetch_one(Page(b"picture", headers=(f"Content-Encoding: {coding}",)))).body == b"picture"


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "aws-chunked,gzip"])
@pytest.mark.parametrize("num_bytes", [7, 1000])
async def test_a_compressed_body(coding: str, num_bytes: int) -> None:
    page = Page(gzip.compress(b"x" * num_bytes), headers=(f"Content-Encoding: {coding}",))

    assert (await fetch_one(page)).body == b"x" * num_bytes


async def test_what_the_server_sees() -> None:
    async with serving({"/a%20b.png?c=d": Page(b"picture")}) as host, fetching() as fetcher:
        await fetcher.fetch(parse_url(host.url("/a b.png?c=d#fragment")))
        head = host.requests[0].splitlines()

    assert head[0] == "GET /a%20b.png?c=d HTTP/1.1"
    assert sorted(line.lower() for line in head[1:] if line) == [
        "accept-encoding: identity",
        "accept: image/png, image/jpeg, image/webp, image/gif, image/bmp, image/tiff, image/*;q=0.5, */*;q=0.1",
        f"host: 127.0.0.1:{host.port}",
        f"user-agent: foveal/{__version__} (+https://pypi.org/project/foveal)",
    ]


async def test_the_environment_chooses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert (await fetch_one(Page(b"picture"))).body == b"picture"


async def test_cookies_are_not_kept() -> None:
    page = Page(b"picture", headers=("Set-Cookie: a=b; Path=/",))
    async with serving({"/a.png": page}) as host, fetching() as fetcher:
        for _ in range(2):
            await fetcher.fetch(parse_url(host.url("/a.png")))

    assert not any("cookie" in request.lower() for request in host.requests)


# --- where it connects to ---------------------------------------------------------------------------------------------


async def test_a_name_is_looked_up_once_and_the_checked_address_connected_to() -> None:
    names = Names(rebound_test=[["127.0.0.1"], ["169.254.169.254"]])  # the second lookup would lead elsewhere
    async with serving({"/a.png": Page(b"picture")}) as host, fetching(names) as fetcher:
        download = await fetcher.fetch(parse_url(host.url("/a.png", "rebound.test")))

    assert download.body == b"picture"
    assert names.lookups == ["rebound.test"]
    assert f"Host: rebound.test:{host.port}" in host.requests[0]


async def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    names = Names(mixed_test=[["93.184.216.34", "2606:4700::1111", "10.0.0.1"]])
    async with fetching(names) as fetcher:
        with pytest.raises(Refused, match=NOT_ALLOWED):
            await fetcher.fetch(parse_url("http://mixed.test/a.png"))


async def test_the_next_address_is_tried_when_one_is_dead() -> None:
    names = Names(two_test=[["127.0.0.2", "127.0.0.1"]])  # nobody listens on the first
    loopback = fetching(names, allowed_hosts=("127.0.0.0/8",))
    async with serving({"/a.png": Page(b"picture")}) as host, loopback as fetcher:
        download = await fetcher.fetch(parse_url(host.url("/a.png", "two.test")))

    assert download.body == b"picture"


async def test_a_private_address_is_not_connected_to() -> None:
    async with serving({"/a.png": Page(b"secret")}) as host, fetching(allowed_hosts=()) as fetcher:
        with pytest.raises(Refused, match=NOT_ALLOWED):
            await fetcher.fetch(parse_url(host.url("/a.png")))

    assert host.requests == []


async def test_a_name_without_addresses() -> None:
    async with fetching(Names(gone_test=[[]])) as fetcher:
        with pytest.raises(Refused, match=NOT_ALLOWED):
            await fetcher.fetch(parse_url("http://gone.test/a.png"))


async def test_the_name_service_of_the_system() -> None:
    config = ImageConfig(allowed_hosts=("localhost",), fetch_timeout_s=60)
    fetcher = Fetcher(config)
    async with serving({"/a.png": Page(b"picture")}) as host:
        download = await fetcher.fetch(parse_url(host.url("/a.png", "localhost")))
    await fetcher.close()

    assert download.body == b"picture"


async def test_tls_is_checked_against_the_name_and_not_the_address() -> None:
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), httpcore.default_ssl_context()
    server.load_cert_chain(CERTIFICATE)
    trusting.load_verify_locations(CERTIFICATE)
    names = Names(pictures_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    async with serving({"/a.png": Page(b"picture")}, tls=server) as host, fetching(names, trusting) as fetcher:
        download = await fetcher.fetch(parse_url(host.url("/a.png", "pictures.test", "https")))
        with pytest.raises(Refused, match="did not answer as expected"):
            await fetcher.fetch(parse_url(host.url("/a.png", "other.test", "https")))

    assert download.body == b"picture"


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(status: int) -> None:
    pages = {"/a.png": redirect("b.png#fragment", status), "/b.png": Page(b"picture")}

    assert (await fetch_one(pages)).body == b"picture"


async def test_three_redirects_are_followed_and_four_are_not() -> None:
    pages = {f"/{i}": redirect(f"/{i + 1}") for i in range(4)} | {"/4": Page(b"picture")}

    assert (await fetch_one(pages, "/1")).body == b"picture"
    with pytest.raises(Refused, match="more than 3 redirects"):
        await fetch_one(pages, "/0")


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "//[::1]/a.png",
        "http://93.184.216.34:22/a.png",
        "file:///etc/passwd",
        "http://user:password@93.184.216.34/a.png",
    ],
)
async def test_a_redirect_is_checked_like_a_url(location: str) -> None:
    with pytest.raises(Refused, match=NOT_ALLOWED):
        await fetch_one(redirect(location))


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_bytes", "fits"), [(1000, True), (1001, False), (100_000, False)])
@pytest.mark.parametrize("stated_length", ["", None])
async def test_the_limit_on_bytes(num_bytes: int, fits: bool, stated_length: str | None) -> None:
    page = Page(bytes(num_bytes), stated_length=stated_length)

    if fits:
        assert len((await fetch_one(page)).body) == num_bytes
    else:
        with pytest.raises(Refused, match="larger than 1,000 bytes, the limit for each image"):
            await fetch_one(page)


async def test_a_stated_length_over_the_limit_is_enough() -> None:
    with pytest.raises(Refused, match="larger than 1,000 bytes"):
        await fetch_one(Page(b"x" * 900, stated_length="1001", pause_s=ENDLESS_S))


@pytest.mark.parametrize(
    "page",
    [
        Page(b"picture", delay_s=ENDLESS_S),
        Page(b"x" * 1000, pause_s=0.1),
    ],
    ids=["late", "trickling"],
)
async def test_the_limit_on_time(page: Page) -> None:
    started = time.monotonic()
    with pytest.raises(Refused, match=r"^the download took longer than 0\.3 s; use a faster host or send the image as"):
        await fetch_one(page, fetch_timeout_s=0.3)

    assert time.monotonic() - started < 60  # the trickle would take 100 s


async def test_the_limit_on_time_covers_the_lookup() -> None:
    async def slow_names(host: str) -> Sequence[str]:
        await asyncio.sleep(ENDLESS_S)
        return ["127.0.0.1"]

    fetcher = Fetcher(ImageConfig(fetch_timeout_s=0.2), slow_names)
    with pytest.raises(Refused):
        await fetcher.fetch(parse_url("http://slow.test/a.png"))
    await fetcher.close()


async def test_a_name_that_nobody_answers_for_gets_the_words_of_a_private_one() -> None:
    async def silent(host: str) -> Sequence[str]:
        await asyncio.sleep(ENDLESS_S)
        return []

    with pytest.raises(Refused, match=NOT_ALLOWED):
        await CheckedNetwork(Guard((80,), ()), silent).connect_tcp("silent.test", 80, timeout=0.01)


async def test_the_limit_on_time_covers_all_redirects() -> None:
    hop = replace(redirect("/a.png"), delay_s=0.15)
    with pytest.raises(Refused, match="took longer than"):
        await fetch_one(hop, fetch_timeout_s=0.4, max_redirects=100)


# --- answers that are no picture --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (Page(status=404), "the server answered with status 404; check that the URL opens without signing in"),
        (Page(status=500), "status 500"),
        (Page(b"x", status=206), "status 206"),
        (Page(b"x", headers=("Content-Encoding: deflate",)), "the server compresses the file"),
        (Page(gzip.compress(b"x" * 50)[:-9], headers=GZIP), "did not answer as expected"),
        (Page(gzip.compress(b"")[:9] + b"x" * 50, headers=GZIP), "did not answer as expected"),
        (Page(gzip.compress(b""), headers=GZIP), "the image is empty"),
        (Page(gzip.compress(bytes(1001)), headers=GZIP), "larger than 1,000 bytes, the limit for each image"),
        (Page(gzip.compress(bytes(500_000)), headers=GZIP), "larger than 1,000 bytes, the limit for each image"),
        (Page(b"x", headers=("Content-Encoding: identity, br",)), "the server compresses the file"),
        (Page(b""), "the image is empty"),
        (Page(b"x", stated_length="10"), "did not answer as expected"),
        (Page(b"x", stated_length="9" * 5000), "did not answer as expected|larger than"),
        (Page(b"x", headers=("Transfer-Encoding: chunked",), stated_length=None), "did not answer as expected"),
        (Page(b"x", headers=("A: " + "b" * 200_000,)), "did not answer as expected"),
        (Page(b"x", status=99), "did not answer as expected"),
        (redirect(""), "the server answered with status 302 and no address to go on to"),
        (Page(status=308), "the server answered with status 308 and no address to go on to"),
        (redirect("http://[::1/"), "cannot be read|not allowed"),
    ],
)
async def test_answers_that_cannot_be_used(page: Page, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        await fetch_one(page)


@pytest.mark.parametrize("host", ["a..b", "a" * 300, "no-such-host.invalid"])
async def test_names_that_cannot_be_looked_up(host: str) -> None:
    fetcher = Fetcher(ImageConfig(fetch_timeout_s=60))
    with pytest.raises(Refused, match=NOT_ALLOWED):
        await fetcher.fetch(parse_url(f"http://{host}/a.png"))
    await fetcher.close()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], DEFAULT_FRESH_S),
        ([(b"Cache-Control", b"public")], DEFAULT_FRESH_S),
        ([(b"Cache-Control", b"public, Max-Age=600")], 600),
        ([(b"Cache-Control", b'max-age="600"')], 600),
        ([(b"Cache-Control", b"max-age=600"), (b"Age", b"100")], 500),
        ([(b"Cache-Control", b"max-age=600"), (b"Age", b"700")], 0),
        ([(b"Cache-Control", b"max-age=600, s-maxage=30")], 30),
        ([(b"Cache-Control", b"max-age=600"), (b"cache-control", b"no-store")], 0),
        ([(b"Cache-Control", b"no-cache")], 0),
        ([(b"Cache-Control", b"private, max-age=600")], 0),
        ([(b"Cache-Control", b"max-age=-1")], DEFAULT_FRESH_S),
    ],
)
def test_how_long_an_answer_may_be_kept(headers: list[tuple[bytes, bytes]], seconds: float) -> None:
    assert freshness_s(headers) == seconds


async def test_a_chain_is_as_fresh_as_its_least_fresh_hop() -> None:
    hop = Page(status=302, headers=("Location: /b.png", "Cache-Control: max-age=5"))
    pages = {"/a.png": hop, "/b.png": Page(b"picture", headers=("Cache-Control: max-age=600",))}

    assert (await fetch_one(pages)).fresh_s == 5
