"""A capacity that callers share: what does not fit waits, and callers take turns however much each has waiting.

Used on the event loop only. Knows neither what is held nor why.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from foveal.errors import TooManyRequests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import Executor

T = TypeVar("T")

MAX_WAITING = 256  # of one caller
_RETRY_S = 1.0


class Shares:
    """`keeps_room`: what one caller holds, others find free: half for one, a third for each of two.

    For what is held long. Without it, one caller may hold everything, and the next one's turn comes when it ends.
    """

    def __init__(self, capacity: int, *, keeps_room: bool = False, max_waiting: int = MAX_WAITING) -> None:
        self._capacity = self._free = capacity
        self._keeps_room = keeps_room
        self._max_waiting = max_waiting
        self._held: Counter[str] = Counter()  # by caller
        self._waiting: OrderedDict[str, deque[_Wish]] = OrderedDict()  # the caller whose turn it is comes first

    @property
    def num_held(self) -> int:
        return self._held.total()

    @asynccontextmanager
    async def hold(self, caller: str, amount: int = 1) -> AsyncIterator[None]:
        """Waits for room. More than there is counts as all.

        Raises TooManyRequests where too many of the caller's wait already.
        """
        amount = min(amount, self._capacity)
        await self.take(caller, amount)
        try:
            yield
        finally:
            self.give_back(caller, amount)

    async def run(self, caller: str, executor: Executor, work: Callable[[], T]) -> T:
        """The result of `work`, run in a thread. The thread counts until it ends, also when nobody waits for it."""
        async with self.hold(caller):
            running = asyncio.get_running_loop().run_in_executor(executor, work)
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait([running])
                raise

    async def take(self, caller: str, amount: int) -> None:
        """As `hold` does, for what is given back piece by piece. The amount is within the capacity."""
        wish = _Wish(amount, asyncio.get_running_loop().create_future())
        queue = self._waiting.setdefault(caller, deque())
        if len(queue) >= self._max_waiting:
            raise TooManyRequests(
                "Too many of your requests wait for their turn. Ask again when some have ended.", _RETRY_S
            )
        queue.append(wish)
        self._grant()
        try:
            await wish.granted
        except asyncio.CancelledError:
            if not wish.granted.cancelled():  # it was granted in the same moment
                self.give_back(caller, amount)
            elif wish in queue:  # or it would count as one that waits
                queue.remove(wish)
            self._grant()
            raise

    def give_back(self, caller: str, amount: int) -> None:
        self._free += amount
        self._held[caller] -= amount
        if not self._held[caller]:
            del self._held[caller]
        self._grant()

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
            elif self._may_hold(caller, queue[0].amount):
                return caller if queue[0].amount <= self._free else None
        return None

    def _may_hold(self, caller: str, amount: int) -> bool:
        """A caller's first wish takes what is free; more needs as much room for others as the caller then holds."""
        held = self._held[caller]
        return not self._keeps_room or not held or held + amount <= self._free - amount


class _Wish(NamedTuple):
    amount: int
    granted: asyncio.Future[None]
