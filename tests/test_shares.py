"""A capacity that callers share: turns go round among those who wait, and what is held long keeps room for others."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from foveal.errors import TooManyRequests
from foveal.shares import Shares


class Crowd:
    """Holders that stay until they are let go; `order` tells who came in when."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self.order: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str, amount: int = 1) -> None:
        """The caller is the name's first letter."""
        for name in names:
            self._leave[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._stay(name, amount))
            await asyncio.sleep(0)
        await self.settle()

    async def go(self, *names: str) -> None:
        for name in names:
            self._leave[name].set()
            await self.settle()

    async def give_up(self, *names: str) -> None:
        for name in names:
            self._tasks[name].cancel()
            await self.settle()

    async def _stay(self, name: str, amount: int) -> None:
        with suppress(asyncio.CancelledError):
            async with self.shares.hold(name[0], amount):
                self.order.append(name)
                await self._leave[name].wait()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def test_callers_take_turns_however_much_each_has_waiting() -> None:
    async def run() -> list[str]:
        crowd = Crowd(Shares(1))
        await crowd.come("a1", "a2", "a3", "a4", "b1", "b2", "c1")
        await crowd.go("a1", "a2", "b1", "c1", "a3", "b2", "a4")
        return crowd.order

    assert asyncio.run(run()) == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


@pytest.mark.parametrize(("callers", "each"), [("a", 30), ("ab", 20), ("abcde", 10)])
def test_what_one_holds_is_left_free_for_whoever_comes_next(callers: str, each: int) -> None:
    async def run() -> tuple[list[int], bool]:
        crowd = Crowd(Shares(60, keeps_room=True))
        for number in range(60):
            await crowd.come(*(f"{caller}{number}" for caller in callers))
        held = [sum(name[0] == caller for name in crowd.order) for caller in callers]
        await crowd.come("z", amount=each)
        return held, crowd.order[-1] == "z"

    assert asyncio.run(run()) == ([each] * len(callers), True)


def test_a_first_wish_may_take_more_than_half() -> None:
    async def run() -> list[str]:
        crowd = Crowd(Shares(10, keeps_room=True))
        await crowd.come("a1", amount=9)
        await crowd.come("a2", "b1")
        return crowd.order

    assert asyncio.run(run()) == ["a1", "b1"]


def test_more_than_there_is_counts_as_all() -> None:
    async def run() -> int:
        crowd = Crowd(Shares(10))
        await crowd.come("a1", amount=1000)
        return crowd.shares.num_held

    assert asyncio.run(run()) == 10


def test_one_who_gave_up_no_longer_counts_as_waiting() -> None:
    async def run() -> list[str]:
        crowd = Crowd(Shares(1, max_waiting=2))
        await crowd.come("b1", "a1", "a2")
        await crowd.give_up("a2")  # behind a1, which still waits
        await crowd.come("a3")
        await crowd.go("b1", "a1", "a3")
        return crowd.order

    assert asyncio.run(run()) == ["b1", "a1", "a3"]


def test_a_large_wish_is_not_overtaken_for_ever() -> None:
    async def run() -> list[str]:
        crowd = Crowd(Shares(4))
        await crowd.come("a1", "b1", amount=2)
        await crowd.come("c1", amount=4)
        await crowd.come("d1", amount=2)
        await crowd.go("a1")
        assert crowd.order == ["a1", "b1"]
        await crowd.go("b1", "c1", "d1")
        return crowd.order

    assert asyncio.run(run()) == ["a1", "b1", "c1", "d1"]


def test_one_who_gives_up_waiting_blocks_nobody() -> None:
    async def run() -> tuple[list[str], int]:
        crowd = Crowd(Shares(1))
        await crowd.come("a1", "a2", "b1")
        await crowd.give_up("a2")
        await crowd.go("a1", "b1")
        return crowd.order, crowd.shares.num_held

    assert asyncio.run(run()) == (["a1", "b1"], 0)


def test_one_who_gives_up_in_the_moment_of_its_turn_passes_it_on() -> None:
    async def run() -> tuple[list[str], int]:
        crowd = Crowd(Shares(1))
        await crowd.come("a1", "b1", "c1")
        crowd._leave["a1"].set()
        await asyncio.sleep(0)  # a1 leaves, and b1 is granted its turn, but does not run yet
        await crowd.give_up("b1")
        await crowd.go("c1")
        return crowd.order, crowd.shares.num_held

    order, num_held = asyncio.run(run())
    assert order in (["a1", "c1"], ["a1", "b1", "c1"])
    assert num_held == 0


def test_too_many_waiting_of_one_caller_are_refused_and_others_are_not() -> None:
    async def run() -> list[str]:
        shares = Shares(1, max_waiting=2)
        crowd = Crowd(shares)
        await crowd.come("a1", "a2", "a3")
        with pytest.raises(TooManyRequests, match="wait for their turn"):
            async with shares.hold("a"):
                pass
        await crowd.come("b1")
        await crowd.go("a1", "a2", "b1", "a3")
        return crowd.order

    assert asyncio.run(run()) == ["a1", "a2", "b1", "a3"]


def test_a_thread_holds_its_turn_until_it_ends_though_nobody_waits_for_it() -> None:
    async def run() -> None:
        shares, may_end = Shares(1), threading.Event()
        with ThreadPoolExecutor(1) as threads:
            working = asyncio.create_task(shares.run("a", threads, may_end.wait))
            for _ in range(5):  # it takes its turn
                await asyncio.sleep(0)
            working.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert shares.num_held == 1
            may_end.set()
            with pytest.raises(asyncio.CancelledError):
                await working
        assert shares.num_held == 0

    asyncio.run(run())
