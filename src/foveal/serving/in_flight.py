"""Counts the running requests, so that a server can wait for them before it stops. Used on the event loop only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from foveal.errors import Draining


class InFlight:
    """The requests in flight of one pipeline."""

    def __init__(self) -> None:
        self.num_running = 0
        self.is_draining = False
        self._all_ended = asyncio.Event()

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
            pass  # the caller stops the server, which ends them
