"""The download cache: concurrent requests share a download; it is kept as long as Cache-Control and room allow."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx
import pytest

from foveal.media.downloads import Downloads
from foveal.media.fetch import Download
from foveal.media.refusal import Refused

pytestmark = pytest.mark.anyio

A, B, C = (httpx.URL(f"https://example.com/{name}") for name in "abc")
BODY = bytes(1000)


@dataclass
class FakeWeb:
    """Every URL answers with BODY, once `open` is set."""

    fresh_s: float = 60.0
    refusal: Refused | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)
    fetched: list[httpx.URL] = field(default_factory=list)
    time_s: float = 0.0

    async def fetch(self, url: httpx.URL, caller: str) -> Download:
        self.fetched.append(url)
        await self.open.wait()
        if self.refusal is not None:
            raise self.refusal
        return Download(BODY, self.fresh_s)

    def now(self) -> float:
        return self.time_s


def downloads(web: FakeWeb, max_bytes: int = 1_000_000, *, is_open: bool = True) -> Downloads:
    if is_open:
        web.open.set()
    return Downloads(web.fetch, max_bytes, web.now)


async def test_a_fresh_body_is_not_fetched_again() -> None:
    web = FakeWeb(fresh_s=60)
    kept = downloads(web)

    assert await kept.get(A) == BODY
    web.time_s = 59.9
    assert await kept.get(A) == BODY
    assert web.fetched == [A]


@pytest.mark.parametrize(("fresh_s", "age_s"), [(60, 60), (0, 0)])
async def test_a_stale_body_is_fetched_again(fresh_s: float, age_s: float) -> None:
    web = FakeWeb(fresh_s=fresh_s)
    kept = downloads(web)

    await kept.get(A)
    web.time_s = age_s
    await kept.get(A)

    assert web.fetched == [A, A]


async def test_what_may_not_be_kept_takes_no_room() -> None:
    kept = downloads(FakeWeb(fresh_s=0))

    await kept.get(A)

    assert kept.num_bytes == 0


async def test_the_least_recently_used_is_evicted_first() -> None:
    web = FakeWeb()
    kept = downloads(web, max_bytes=2 * 1600)
    for url in (A, B, A, C):  # B goes
        await kept.get(url)
    web.fetched.clear()

    for url in (A, C, B):
        await kept.get(url)

    assert web.fetched == [B]
    assert kept.num_bytes <= 2 * 1600


async def test_a_body_larger_than_the_cache_is_not_kept() -> None:
    kept = downloads(FakeWeb(), max_bytes=1000)

    assert await kept.get(A) == BODY
    assert kept.num_bytes == 0


async def test_those_who_ask_at_once_share_one_download() -> None:
    web = FakeWeb(fresh_s=0)
    kept = downloads(web, is_open=False)
    callers = [asyncio.create_task(kept.get(A)) for _ in range(5)]
    await asyncio.sleep(0)
    web.open.set()

    assert await asyncio.gather(*callers) == [BODY] * 5
    assert web.fetched == [A]


async def test_the_first_caller_may_leave() -> None:
    web = FakeWeb()
    kept = downloads(web, is_open=False)
    first, second = (asyncio.create_task(kept.get(A)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    web.open.set()

    assert await second == BODY
    assert web.fetched == [A]


async def test_a_download_ends_with_its_last_caller() -> None:
    web = FakeWeb()
    kept = downloads(web, is_open=False)
    callers = [asyncio.create_task(kept.get(A)) for _ in range(2)]
    await asyncio.sleep(0)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    web.open.set()
    await asyncio.sleep(0)

    assert kept.num_bytes == 0  # nobody waited for it, so nothing came
    assert await kept.get(A) == BODY  # and the next does not join what ended
    assert web.fetched == [A, A]


async def test_callers_with_different_salts_share_neither_downloads_nor_bytes() -> None:
    web = FakeWeb()
    kept = downloads(web)

    await asyncio.gather(kept.get(A, salt=b"one"), kept.get(A, salt=b"other"))
    await kept.get(A, salt=b"third")
    await kept.get(A, salt=b"one")

    assert web.fetched == [A, A, A]


async def test_a_failure_is_shared_but_not_kept() -> None:
    web = FakeWeb(refusal=Refused("no"))
    kept = downloads(web)

    results = await asyncio.gather(kept.get(A), kept.get(A), return_exceptions=True)
    web.refusal = None

    assert [str(result) for result in results] == ["no", "no"]
    assert await kept.get(A) == BODY
    assert web.fetched == [A, A]


async def test_what_happens_is_counted() -> None:
    web = FakeWeb(fresh_s=60)
    kept = downloads(web)

    for _ in range(3):
        await kept.get(A)
    web.refusal = Refused("no")
    with pytest.raises(Refused):
        await kept.get(httpx.URL("http://b.example/"))

    assert (sum(kept.fetch_s.counts), kept.num_hits, kept.num_failures) == (1, 2, 1)


async def test_close_ends_what_runs() -> None:
    web = FakeWeb()
    kept = downloads(web, is_open=False)
    caller = asyncio.create_task(kept.get(A))
    await asyncio.sleep(0)

    await kept.close()

    with pytest.raises(asyncio.CancelledError):
        await caller
