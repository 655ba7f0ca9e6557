"""When each server is asked, with a clock that advances only while all tasks wait, so every time below is exact."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count, islice, pairwise

import pytest

from foveal.bench.arrivals import poisson
from foveal.bench.records import Answer, Conversation, Request, Workload
from foveal.bench.run import Log, run
from tests.bench.builders import FakeClock, sample

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class FakeAsker:
    """Takes as long as it is told for any request, and notes when each began and ended."""

    clock: FakeClock
    takes_s: float = 1.0
    fails: Callable[[Request], bool] = lambda _: False
    name: str = "one"
    diary: list[tuple[str, int]] = field(default_factory=list)  # may be shared
    moments_s: list[tuple[float, float]] = field(default_factory=list)
    histories: list[tuple[str, ...]] = field(default_factory=list)

    async def ask(
        self, request: Request, conversation: Conversation, answers: tuple[str, ...], start_s: float | None
    ) -> Answer:
        sent_s = self.clock.now()
        self.diary.append((self.name, request.conversation))
        self.histories.append(answers)
        await self.clock.sleep(self.takes_s)
        self.moments_s.append((sent_s, self.clock.now()))
        begun_s = sent_s if start_s is None else start_s
        answered = sample(request.conversation, start_s=begun_s, sent_s=sent_s)
        error = "no" if self.fails(request) else None
        return Answer(replace(answered, request=request, ended_s=self.clock.now(), error=error), f"said {request.turn}")


def conversations(num_turns: int = 1) -> Iterator[Conversation]:
    return (Conversation(number, (), ("What?",) * num_turns) for number in count())


def taking(several: Iterator[Conversation]) -> Callable[[], Awaitable[Conversation | None]]:
    async def take() -> Conversation | None:
        return next(several, None)

    return take


def quiet(num_servers: int = 1) -> Log:
    return Log.of(num_servers, lambda server, sample: None)


async def test_a_closed_loop_keeps_as_many_under_way_as_wanted() -> None:
    clock = FakeClock()
    asker, log = FakeAsker(clock), quiet()
    await run([asker], Workload(concurrency=3), taking(islice(conversations(), 7)), clock, log)
    assert sorted(asker.moments_s) == [(0.0, 1.0)] * 3 + [(1.0, 2.0)] * 3 + [(2.0, 3.0)]
    assert [(round_.started_s, round_.ended_s) for round_ in log.rounds[0]] == [(0.0, 3.0)]


async def test_a_rate_does_not_wait_for_a_slow_server() -> None:
    clock, workload = FakeClock(), Workload(rate_per_s=2.0, seed=5)
    asker, log = FakeAsker(clock, takes_s=100.0), quiet()
    await run([asker], workload, taking(islice(conversations(), 6)), clock, log)
    planned_s = list(islice(poisson(2.0, 5), 6))
    assert [sent_s for sent_s, _ in asker.moments_s] == pytest.approx(planned_s)
    assert [each.start_s for each in log.samples[0]] == pytest.approx(planned_s)


async def test_waiting_counts_from_the_moment_that_was_planned() -> None:
    """A generator that could not send in time does not hide how long a person would have waited."""
    clock, workload = FakeClock(), Workload(rate_per_s=10.0, seed=5)
    asker, log = FakeAsker(clock), quiet()
    several = conversations()

    async def slow() -> Conversation | None:
        await clock.sleep(3.0)
        return next(several) if len(asker.diary) < 2 else None

    await run([asker], workload, slow, clock, log)
    planned_s = list(islice(poisson(10.0, 5), len(log.samples[0])))
    assert [each.start_s for each in log.samples[0]] == pytest.approx(planned_s)
    assert log.samples[0][0].sent_s == 3.0


async def test_nothing_starts_after_the_duration_and_all_is_finished() -> None:
    clock = FakeClock()
    asker = FakeAsker(clock, takes_s=1.0)
    workload = Workload(num_requests=None, duration_s=2.5, concurrency=2)
    await run([asker], workload, taking(conversations()), clock, quiet())
    assert sorted(asker.moments_s) == [(0.0, 1.0)] * 2 + [(1.0, 2.0)] * 2 + [(2.0, 3.0)] * 2


async def test_a_rate_ends_with_the_duration() -> None:
    clock = FakeClock()
    asker = FakeAsker(clock)
    workload = Workload(num_requests=None, duration_s=4.0, rate_per_s=3.0, seed=1)
    await run([asker], workload, taking(conversations()), clock, quiet())
    assert len(asker.moments_s) == sum(at_s < 4.0 for at_s in islice(poisson(3.0, 1), 100))


async def test_two_servers_are_asked_the_same_in_strict_alternation() -> None:
    clock, diary = FakeClock(), list[tuple[str, int]]()
    askers = [FakeAsker(clock, 1.0, name="one", diary=diary), FakeAsker(clock, 5.0, name="other", diary=diary)]
    log = quiet(2)
    await run(askers, Workload(), taking(islice(conversations(), 3)), clock, log)
    assert diary == [("one", 0), ("other", 0), ("one", 1), ("other", 1), ("one", 2), ("other", 2)]
    assert [each.request for each in log.samples[0]] == [each.request for each in log.samples[1]]


async def test_no_server_is_asked_while_the_other_is() -> None:
    clock, diary = FakeClock(), list[tuple[str, int]]()
    askers = [FakeAsker(clock, 1.0, name="one", diary=diary), FakeAsker(clock, 2.0, name="other", diary=diary)]
    log = quiet(2)
    await run(askers, Workload(concurrency=2, round_size=3), taking(islice(conversations(), 7)), clock, log)
    spans = sorted((started_s, ended_s) for rounds in log.rounds for _, started_s, ended_s in rounds)
    assert all(ended_s <= started_s for (_, ended_s), (started_s, _) in pairwise(spans))
    assert diary[:6] == [("one", 0), ("one", 1), ("one", 2), ("other", 0), ("other", 1), ("other", 2)]
    assert diary[-2:] == [("one", 6), ("other", 6)]


async def test_both_servers_have_the_same_arrivals() -> None:
    clock, workload = FakeClock(), Workload(rate_per_s=2.0, seed=3, round_size=4)
    askers, log = [FakeAsker(clock), FakeAsker(clock)], quiet(2)
    await run(askers, workload, taking(islice(conversations(), 8)), clock, log)
    offsets_s = [
        [each.start_s - rounds[each.request.round].started_s for each in samples]
        for samples, rounds in zip(log.samples, log.rounds, strict=True)
    ]
    assert offsets_s[0] == pytest.approx(offsets_s[1])
    assert len(offsets_s[0]) == 8


async def test_a_turn_is_asked_with_the_answers_before_it() -> None:
    clock = FakeClock()
    asker, log = FakeAsker(clock), quiet()
    await run([asker], Workload(num_turns=3), taking(islice(conversations(3), 1)), clock, log)
    assert asker.histories == [(), ("said 1",), ("said 1", "said 2")]
    assert [each.request.turn for each in log.samples[0]] == [1, 2, 3]


async def test_a_turn_that_fails_ends_its_conversation_only() -> None:
    clock = FakeClock()
    asker, log = FakeAsker(clock, fails=lambda request: request[:2] == (0, 2)), quiet()
    await run([asker], Workload(num_turns=3), taking(islice(conversations(3), 2)), clock, log)
    assert [each.request[:2] for each in log.samples[0]] == [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]


async def test_what_was_measured_before_an_interruption_is_kept() -> None:
    clock, third = FakeClock(), asyncio.Event()
    log = Log.of(1, lambda _, sample: third.set() if sample.request.conversation == 2 else None)
    working = asyncio.create_task(run([FakeAsker(clock)], Workload(), taking(conversations()), clock, log))
    await third.wait()
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()
    assert len(log.samples[0]) == 3
    assert len(log.rounds[0]) == 1


def test_arrivals_are_poisson_and_repeatable() -> None:
    first, again, other = (list(islice(poisson(50.0, seed), 5000)) for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(first)
    gaps_s = [later - sooner for sooner, later in pairwise(first)]
    mean_s = sum(gaps_s) / len(gaps_s)
    assert mean_s == pytest.approx(1 / 50, rel=0.05)
    assert sum(gap_s > mean_s for gap_s in gaps_s) / len(gaps_s) == pytest.approx(0.368, abs=0.02)  # 1 / e
