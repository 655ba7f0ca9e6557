"""Counts the running requests, so that a server can wait for them before it stops. Used on the event loop only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from foveal.errors import Draining

CUT_S = 2  # for answers that are cut off to tell their clients

End = Callable[[], Awaitable[None]]
"""Ends what somebody runs: his answers end with an error."""


class InFlight:
    """The requests in flight of a server, or of a part of it."""

    def __init__(self) -> None:
        self.num_running = 0
        self.is_draining = False
        self._all_ended = asyncio.Event()
        self._ends: list[End] = []

    def cut_by(self, end: End) -> None:
        """`cut` calls it."""
        self._ends.append(end)

    def check_open(self) -> None:
        """Raises Draining."""
        if self.is_draining:
            raise Draining("The server is stopping. Try again in a few seconds.")

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """A request that runs while the context is open. Raises Draining."""
        self.check_open()
        self.num_running += 1
        try:
            yield
        finally:
            self.num_running -= 1
            if self.num_running == 0:
                self._all_ended.set()

    async def drain(self, timeout_s: float) -> None:
        """Refuse new requests, and wait for the running ones, but no longer than `timeout_s`."""
        self.is_draining = True
        try:
            async with asyncio.timeout(timeout_s):
                while self.num_running:
                    self._all_ended.clear()
                    await self._all_ended.wait()
        except TimeoutError:
            pass  # the caller cuts them off

    async def cut(self) -> None:
        """End what still runs with an error, and give it a moment to send it."""
        if self.num_running:
            await asyncio.gather(*(end() for end in self._ends))
            await self.drain(CUT_S)
