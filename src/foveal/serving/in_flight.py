"""The requests that run, counted, so that a server can stop without cutting them off. Lives on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from foveal.errors import Draining


class InFlight:
    """The requests in flight of one pipeline, or of several that share it."""

    def __init__(self) -> None:
        self._num_running = 0
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
        self._num_running += 1
        try:
            yield
        finally:
            self._num_running -= 1
            if self._num_running == 0:
                self._all_ended.set()

    async def drain(self, timeout_s: float) -> None:
        """Take no more requests, and wait for those that run, but no longer than `timeout_s`."""
        self.is_draining = True
        try:
            async with asyncio.timeout(timeout_s):
                while self._num_running:
                    self._all_ended.clear()
                    await self._all_ended.wait()
        except TimeoutError:
            pass  # whoever stops the server cuts them off
