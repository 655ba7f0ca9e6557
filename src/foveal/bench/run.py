"""Decides when each server is asked: a closed loop or an arrival rate, one server or two in alternation.

- Closed loop: `concurrency` conversations run at any time; the next one starts when one has ended.
- Rate: conversations start at times that are drawn before, however slow the server is. Waiting is counted from that
  time, so that a server that falls behind cannot hide it (no coordinated omission).
- Two servers: a round of conversations is asked of the first, then the same ones of the second, then the next round.
  One is idle while the other is asked, so that two servers on one machine do not slow each other.

Knows no HTTP: a server is any object with `ask`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from foveal.bench.arrivals import poisson
from foveal.bench.records import Request, RoundTime, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.bench.clock import Clock
    from foveal.bench.records import Answer, Conversation, Workload

Take = Callable[[], Awaitable["Conversation | None"]]
ROUND_OF_A_RATE = 8  # conversations, where two servers take turns


class Asks(Protocol):
    async def ask(
        self, request: Request, conversation: Conversation, answers: tuple[str, ...], start_s: float | None
    ) -> Answer: ...


@dataclass(slots=True)
class Log:
    """What has been measured so far, for each server. It stays valid if the run is interrupted."""

    on_sample: Callable[[int, Sample], None]
    samples: tuple[list[Sample], ...]
    rounds: tuple[list[RoundTime], ...]

    @classmethod
    def of(cls, num_servers: int, on_sample: Callable[[int, Sample], None]) -> Log:
        return cls(on_sample, tuple([] for _ in range(num_servers)), tuple([] for _ in range(num_servers)))


@dataclass(frozen=True, slots=True)
class _Round:
    """One server, which is asked the conversations that `take` returns."""

    number: int
    server: int
    asks: Asks
    take: Take
    workload: Workload
    clock: Clock
    log: Log
    ends_s: float | None = field(default=None)  # no conversation starts later


async def run(servers: Sequence[Asks], workload: Workload, take: Take, clock: Clock, log: Log) -> None:
    """Ask until conversations or time run out. Running conversations are finished."""
    ends_s = None if workload.duration_s is None else clock.now() + workload.duration_s
    if len(servers) == 1:
        await _play_round(_Round(0, 0, servers[0], take, workload, clock, log, ends_s))
        return
    number = 0
    while ends_s is None or clock.now() < ends_s:
        batch = [each async for each in _some(take, round_size(workload))]
        if not batch:
            return
        for index, asks in enumerate(servers):
            await _play_round(_Round(number, index, asks, _taking(batch), workload, clock, log))
        number += 1


def round_size(workload: Workload) -> int:
    """The conversations of a round, where two servers alternate."""
    return workload.round_size or (ROUND_OF_A_RATE if workload.rate_per_s else workload.concurrency)


async def _play_round(played: _Round) -> None:
    started_s = played.clock.now()
    try:
        if played.workload.rate_per_s is None:
            await _closed_loop(played)
        else:
            await _at_rate(played, started_s, played.workload.rate_per_s)
    finally:
        played.log.rounds[played.server].append(RoundTime(played.number, started_s, played.clock.now()))


async def _closed_loop(played: _Round) -> None:
    async def one_after_another() -> None:
        while played.ends_s is None or played.clock.now() < played.ends_s:
            conversation = await played.take()
            if conversation is None:
                return
            await _play(played, conversation, None)

    async with asyncio.TaskGroup() as group:
        for _ in range(played.workload.concurrency):
            group.create_task(one_after_another())


async def _at_rate(played: _Round, started_s: float, rate_per_s: float) -> None:
    async with asyncio.TaskGroup() as group:
        for offset_s in poisson(rate_per_s, played.workload.seed, played.number):
            moment_s = started_s + offset_s
            if played.ends_s is not None and moment_s >= played.ends_s:
                return
            conversation = await played.take()
            if conversation is None:
                return
            await played.clock.sleep_until(moment_s)
            group.create_task(_play(played, conversation, moment_s))


async def _play(played: _Round, conversation: Conversation, start_s: float | None) -> None:
    """All turns, each with the answers that came before it. A turn that fails ends the conversation."""
    answers: tuple[str, ...] = ()
    for turn in range(1, len(conversation.questions) + 1):
        request = Request(conversation.number, turn, played.number, conversation.is_shared)
        answer = await played.asks.ask(request, conversation, answers, start_s)
        played.log.samples[played.server].append(answer.sample)
        played.log.on_sample(played.server, answer.sample)
        if answer.sample.error is not None:
            return
        answers, start_s = (*answers, answer.text), None  # a later turn has no planned time: it counts from sending


async def _some(take: Take, most: int) -> AsyncIterator[Conversation]:
    for _ in range(most):
        conversation = await take()
        if conversation is None:
            return
        yield conversation


def _taking(batch: Sequence[Conversation]) -> Take:
    left = iter(batch)

    async def take() -> Conversation | None:
        return next(left, None)

    return take
