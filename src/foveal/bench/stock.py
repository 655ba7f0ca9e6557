"""Conversations drawn before a run, as far as memory allows, so that drawing does not disturb the measurement.

The rest is drawn during the run, in a thread. `waited_s` is the time that requests waited for it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from foveal.bench.clock import Clock
    from foveal.bench.records import Conversation, Workload

MAX_PIXELS = 250_000_000  # drawn before the run; as JPEG 100 MB or less, as PNG 500
AHEAD_WITHOUT_END = 64  # conversations, where their number is not known before


def ahead(workload: Workload) -> int:
    """The number of conversations that are drawn before the first is asked."""
    wanted = workload.num_conversations or AHEAD_WITHOUT_END
    pixels = workload.num_images * workload.largest.width * workload.largest.height
    return max(workload.concurrency, min(wanted, MAX_PIXELS // max(1, pixels)))


@asynccontextmanager
async def drawn_ahead(
    plan: Iterator[Conversation], num_ahead: int, clock: Clock, on_drawn: Callable[[], None]
) -> AsyncIterator[Stock]:
    """A stock that is full, or holds all conversations."""
    stock = Stock(num_ahead, clock)
    drawing = asyncio.create_task(stock.draw(plan, on_drawn))
    try:
        await stock.is_full.wait()
        if drawing.done():
            drawing.result()
        yield stock
    finally:
        drawing.cancel()
        await asyncio.wait([drawing])


class Stock:
    def __init__(self, num_ahead: int, clock: Clock) -> None:
        self.is_full = asyncio.Event()
        self.waited_s = 0.0
        self._ready: asyncio.Queue[Conversation | None] = asyncio.Queue(num_ahead)
        self._clock = clock

    async def draw(self, plan: Iterator[Conversation], on_drawn: Callable[[], None]) -> None:
        try:
            while (conversation := await asyncio.to_thread(next, plan, None)) is not None:
                if self._ready.full():
                    self.is_full.set()
                await self._ready.put(conversation)
                on_drawn()
        finally:
            self.is_full.set()
        await self._ready.put(None)

    async def take(self) -> Conversation | None:
        """The next conversation; None from the end on."""
        asked_s = self._clock.now()
        conversation = await self._ready.get()
        self.waited_s += self._clock.now() - asked_s
        if conversation is None:
            self._ready.put_nowait(None)
        return conversation
