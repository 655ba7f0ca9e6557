"""The download cache: fetched bytes by URL, kept in memory as long as `Cache-Control` allows.

Concurrent requests for one URL share a download, which ends when the last of them has left. Knows nothing of sockets or
images. Bounded in bytes; the least recently used bytes are evicted first. Nothing is written to disk. No other cache
has URLs as keys: images are known by their content.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from foveal.media.fetch import Download
from foveal.media.tasks import BackgroundTasks, Shared
from foveal.telemetry import Histogram

FETCH_BOUNDS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5)
_ENTRY_BYTES = 512  # what an entry takes besides its text and its body

_Key = tuple[bytes, str]  # salt, URL


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    expires_at: float
    num_bytes: int


class Downloads:
    """`fetch` with a cache of at most `max_bytes` in front of it. `now` is a clock in seconds.

    `fetch` gets a URL and whose turn the download takes.
    """

    def __init__(
        self,
        fetch: Callable[[httpx.URL, str], Awaitable[Download]],
        max_bytes: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._max_bytes = max_bytes
        self._now = now
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._running: dict[_Key, Shared[bytes]] = {}
        self._tasks = BackgroundTasks()
        self.num_bytes = 0
        self.num_hits = 0
        self.num_failures = 0
        self.fetch_s = Histogram(FETCH_BOUNDS_S)  # of those that did not fail

    async def get(self, url: httpx.URL, caller: str = "", salt: bytes = b"") -> bytes:
        """The body, from the cache, from a download that already runs, or from a new one. Raises what `fetch` raises.

        Only callers with the same salt share. Cancelling one caller does not cancel the download for others.
        """
        key = (salt, str(url))
        if (kept := self._kept.get(key)) is not None and kept.expires_at > self._now():
            self._kept.move_to_end(key)
            self.num_hits += 1
            return kept.body
        if key not in self._running:
            task = self._tasks.start(self._download(key, url, caller))
            self._running[key] = Shared(task, forget=lambda: self._running.pop(key))
        return await self._running[key].result()

    async def close(self) -> None:
        await self._tasks.close()

    async def _download(self, key: _Key, url: httpx.URL, caller: str) -> bytes:
        started_s = time.monotonic()
        try:
            download = await self._fetch(url, caller)
        except Exception:  # a cancellation is no Exception, and no failure
            self.num_failures += 1
            raise
        self.fetch_s.observe(time.monotonic() - started_s)
        self._keep(key, download)
        return download.body

    def _keep(self, key: _Key, download: Download) -> None:
        self._drop(key)
        num_bytes = len(download.body) + sum(map(len, key)) + _ENTRY_BYTES
        if download.fresh_s <= 0 or num_bytes > self._max_bytes:
            return
        self._kept[key] = _Kept(download.body, self._now() + download.fresh_s, num_bytes)
        self.num_bytes += num_bytes
        while self.num_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: _Key) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self.num_bytes -= kept.num_bytes
