"""Whose job a worker gets next: a number of places, and callers who wait for one. Knows no workers.

The caller that took the least time so far comes next (start-time fair queueing), so that neither many nor large jobs
delay another's first. `foveal.shares` counts jobs; here they differ a thousandfold. Waiting is bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from foveal.errors import Overloaded, TooManyRequests

_RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    num_places: int
    max_waiting: int  # of all callers; one caller has no more than is left free for others
    large_s: float = float("inf")  # work of at least this estimate never takes all places, unless there is only one


@dataclass(eq=False, slots=True)
class _Waiter:
    cost_s: float
    granted: asyncio.Future[None]


@dataclass(slots=True)
class _Share:
    """What one caller has taken, and what it waits for."""

    taken_s: float
    num_places: int = 0
    waiting: dict[_Waiter, None] = field(default_factory=dict)  # in order; a dict, so that anyone may leave


class Turns:
    """`now` is a clock in seconds."""

    def __init__(self, rules: Rules, now: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._now = now
        self._num_free = rules.num_places
        self._num_free_for_large = max(1, rules.num_places - 1)
        self._num_waiting = 0
        self._served_s = 0.0  # what the caller who was served last had taken; a newcomer starts here
        self._shares: dict[str, _Share] = {}

    @property
    def num_waiting(self) -> int:
        return self._num_waiting

    @asynccontextmanager
    async def turn(self, caller: str, cost_s: float) -> AsyncIterator[None]:
        """Holds a place while the context is open. `cost_s` is an estimate; what it really takes is charged.

        Leaving the queue is free. Raises TooManyRequests or Overloaded where too much waits already.
        """
        share, waiter = self._enter(caller, cost_s)
        await self._granted(share, waiter)
        started_s = self._now()
        try:
            yield
        finally:
            self._release(share, waiter, self._now() - started_s)

    def _enter(self, caller: str, cost_s: float) -> tuple[_Share, _Waiter]:
        share = self._share(caller)
        num_free = self._rules.max_waiting - self._num_waiting
        if num_free <= 0 and not share.waiting:
            raise Overloaded("too many pictures are waiting to be decoded; try again in a moment")
        if len(share.waiting) >= num_free:
            raise TooManyRequests(
                "too many of your pictures are waiting to be decoded; try again when some are answered", _RETRY_S
            )
        waiter = _Waiter(cost_s, asyncio.get_running_loop().create_future())
        share.waiting[waiter] = None
        self._num_waiting += 1
        self._grant()
        return share, waiter

    async def _granted(self, share: _Share, waiter: _Waiter) -> None:
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter in share.waiting:
                self._leave(share, waiter)
            else:
                self._release(share, waiter, took_s=0.0)
            raise

    def _share(self, caller: str) -> _Share:
        idle = {name: share for name, share in self._shares.items() if not share.num_places and not share.waiting}
        for name, share in idle.items():
            if share.taken_s <= self._served_s:  # no worse off as a newcomer
                del self._shares[name]
        return self._shares.setdefault(caller, _Share(self._served_s))

    def _leave(self, share: _Share, waiter: _Waiter) -> None:
        del share.waiting[waiter]
        self._num_waiting -= 1

    def _release(self, share: _Share, waiter: _Waiter, took_s: float) -> None:
        share.taken_s += took_s - waiter.cost_s
        share.num_places -= 1
        self._num_free += 1
        self._num_free_for_large += self._is_large(waiter)
        self._grant()

    def _grant(self) -> None:
        while self._num_free and (chosen := self._next()):
            share, waiter = chosen
            self._leave(share, waiter)
            self._num_free -= 1
            self._num_free_for_large -= self._is_large(waiter)
            share.num_places += 1
            self._served_s = max(self._served_s, share.taken_s)
            share.taken_s += waiter.cost_s
            waiter.granted.set_result(None)

    def _next(self) -> tuple[_Share, _Waiter] | None:
        for share in sorted(self._shares.values(), key=lambda share: share.taken_s):
            for waiter in share.waiting:
                is_there = not waiter.granted.done()  # done: it was cancelled, and is about to leave
                if is_there and (self._num_free_for_large or not self._is_large(waiter)):
                    return share, waiter
        return None

    def _is_large(self, waiter: _Waiter) -> bool:
        return waiter.cost_s >= self._rules.large_s
