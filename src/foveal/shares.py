"""A capacity that callers share: what does not fit waits, and callers take turns however much each has waiting.

Used on the event loop only. Knows neither what is held nor why.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from foveal.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import Executor

T = TypeVar("T")

MAX_WAITING = 256  # of one caller


class Shares:
    """`share`: the most that one caller holds at once; so the others find room, whatever that caller does."""

    def __init__(self, capacity: int, share: int, max_waiting: int = MAX_WAITING) -> None:
        self._free = capacity
        self._share = min(share, capacity)
        self._max_waiting = max_waiting
        self._held: Counter[str] = Counter()  # by caller
        self._waiting: OrderedDict[str, deque[_Wish]] = OrderedDict()  # the caller whose turn it is comes first

    @property
    def num_held(self) -> int:
        return self._held.total()

    @asynccontextmanager
    async def hold(self, caller: str, amount: int = 1) -> AsyncIterator[None]:
        """Waits for room. More than a share counts as a whole share. Raises Overloaded where too many wait."""
        amount = min(amount, self._share)
        await self._take(caller, amount)
        try:
            yield
        finally:
            self._give_back(caller, amount)
            self._grant()

    async def run(self, caller: str, executor: Executor, work: Callable[[], T]) -> T:
        """The result of `work`, run in a thread. The thread counts until it ends, also when nobody waits for it."""
        async with self.hold(caller):
            running = asyncio.get_running_loop().run_in_executor(executor, work)
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait([running])
                raise

    async def _take(self, caller: str, amount: int) -> None:
        wish = _Wish(amount, asyncio.get_running_loop().create_future())
        queue = self._waiting.setdefault(caller, deque())
        if len(queue) >= self._max_waiting:
            raise Overloaded("Too many of your requests wait for their turn. Ask again when some have ended.")
        queue.append(wish)
        self._grant()
        try:
            await wish.granted
        except asyncio.CancelledError:
            if not wish.granted.cancelled():  # it was granted in the same moment
                self._give_back(caller, amount)
            self._grant()
            raise

    def _give_back(self, caller: str, amount: int) -> None:
        self._free += amount
        self._held[caller] -= amount
        if not self._held[caller]:
            del self._held[caller]

    def _grant(self) -> None:
        while (caller := self._next()) is not None:
            wish = self._waiting[caller].popleft()
            self._free -= wish.amount
            self._held[caller] += wish.amount
            wish.granted.set_result(None)
            self._waiting.move_to_end(caller)

    def _next(self) -> str | None:
        """Whose wish can be granted. One that lacks only room is not overtaken, or large wishes would starve."""
        for caller, queue in list(self._waiting.items()):
            while queue and queue[0].granted.cancelled():
                queue.popleft()
            if not queue:
                del self._waiting[caller]
            elif self._held[caller] + queue[0].amount <= self._share:
                return caller if queue[0].amount <= self._free else None
        return None


class _Wish(NamedTuple):
    amount: int
    granted: asyncio.Future[None]
