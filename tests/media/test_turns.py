"""Who is served next. Time is a number that the tests set, and what is compared is the order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from foveal.errors import Overloaded, TooManyRequests
from foveal.media.turns import Rules, Turns

pytestmark = pytest.mark.anyio


class Office:
    """Serves jobs, one step of time after another; remembers in which order they came."""

    def __init__(self, **rules: Any) -> None:
        defaults: dict[str, Any] = {"num_places": 1, "max_waiting": 1000}
        self.now_s = 0.0
        self.turns = Turns(Rules(**defaults | rules), lambda: self.now_s)
        self.served: list[str] = []
        self.leave = asyncio.Event()  # nobody leaves a place before

    async def job(self, caller: str, cost_s: float = 1.0, takes_s: float = 1.0) -> None:
        async with self.turns.turn(caller, cost_s):
            self.served.append(caller)
            await self.leave.wait()
            self.now_s += takes_s

    async def come(self, *callers: str, cost_s: float = 1.0, takes_s: float = 1.0) -> list[asyncio.Task[None]]:
        jobs = [asyncio.create_task(self.job(caller, cost_s, takes_s)) for caller in callers]
        await asyncio.sleep(0)
        return jobs

    async def serve(self, *jobs: asyncio.Task[None]) -> str:
        """Serve all; the order as a word of the callers' letters."""
        self.leave.set()
        await asyncio.gather(*jobs)
        return "".join(self.served)


async def test_callers_take_turns_however_many_jobs_each_has() -> None:
    office = Office()
    jobs = [*await office.come(*"aaaaaa"), *await office.come(*"bb"), *await office.come("c")]

    assert await office.serve(*jobs) in ("abcabaaaa", "abacabaaa", "abcbaaaaa")


async def test_what_counts_is_time_and_not_jobs() -> None:
    office = Office()
    jobs = [*await office.come(*"aaa", cost_s=4.0, takes_s=4.0), *await office.come(*"bbbbbbbb")]

    order = await office.serve(*jobs)

    assert order[:6] == "abbbba"


async def test_a_wrong_estimate_is_made_up_for() -> None:
    office = Office()
    jobs = [*await office.come(*"aaa", cost_s=1.0, takes_s=100.0), *await office.come(*"bbbbb")]

    assert await office.serve(*jobs) == "abbbbbaa"


async def test_a_caller_saves_nothing_up_while_it_is_away() -> None:
    office = Office()
    await office.serve(*await office.come(*"aaaaaaaa"))
    office.served, office.leave = [], asyncio.Event()
    jobs = [*await office.come(*"aaaa"), *await office.come(*"bbbb")]

    assert await office.serve(*jobs) in ("aabbabab", "abababab", "aabababb", "ababbaba", "abbababa")


async def test_large_jobs_leave_a_place_for_small_ones() -> None:
    office = Office(num_places=3, large_s=10.0)
    large = await office.come(*"llll", cost_s=10.0)
    small = await office.come("s", cost_s=9.9)

    assert office.served == ["l", "l", "s"]
    assert await office.serve(*large, *small) == "llsll"


async def test_a_large_job_takes_the_only_place() -> None:
    office = Office(large_s=10.0)

    assert await office.serve(*await office.come("l", cost_s=10.0)) == "l"


@pytest.mark.parametrize("num_before", [0, 1])  # while it waits, and while it is served
async def test_who_leaves_gives_the_place_to_the_next(num_before: int) -> None:
    office = Office()
    before = await office.come(*"x" * num_before)
    leaving = (await office.come("a"))[0]
    staying = await office.come("b")
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    assert await office.serve(*before, *staying) in ("xb", "ab")
    assert office.turns.num_waiting == 0


async def test_one_who_is_cancelled_just_when_its_turn_comes() -> None:
    office = Office()
    first, second, third = await office.come(*"abc")
    office.leave.set()
    first.cancel()
    await asyncio.sleep(0)  # a has left, and b has been told
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)

    await asyncio.wait_for(third, 60)


async def test_a_caller_has_no_more_waiting_than_is_left_for_others() -> None:
    office = Office(max_waiting=10)
    jobs = [*await office.come(*"a" * 6), *await office.come(*"b" * 3)]  # one is served, eight wait

    for greedy in "ab":
        with pytest.raises(TooManyRequests, match="too many of your pictures are waiting to be decoded") as refused:
            await office.job(greedy)
        assert refused.value.retry_after_s == 1
    jobs += await office.come(*"cd")  # others find room
    with pytest.raises(Overloaded, match="too many pictures are waiting to be decoded; try again in a moment"):
        await office.job("e")

    assert sorted(await office.serve(*jobs)) == sorted("aaaaaabbbcd")
