"""What stages keep of their own work: counters, and the times of one request. Does not know who reads them, and how."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Histogram:
    """Counts of observations in buckets with ascending upper bounds, and the sum of all observations."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)  # of each bucket by itself; one more for those over the last bound
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


Facts = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a request's way. Its times are `time.monotonic`'s, one clock for all processes of a machine."""

    name: str
    started_s: float
    ended_s: float
    facts: Facts = field(default_factory=dict)
    failure: str | None = None  # the type of the error that ended it


_collected: ContextVar[list[Stage] | None] = ContextVar("stages", default=None)


@contextmanager
def collecting_stages() -> Iterator[list[Stage]]:
    """The stages of the request that this task answers, with the tasks that it starts. Elsewhere none are noted."""
    stages: list[Stage] = []
    token = _collected.set(stages)
    try:
        yield stages
    finally:
        _collected.reset(token)


def note_stage(stage: Stage) -> None:
    if (stages := _collected.get()) is not None:
        stages.append(stage)


@contextmanager
def stage(name: str, **facts: str | int | float) -> Iterator[None]:
    """Note what runs within it as a stage."""
    if _collected.get() is None:
        yield
        return
    started_s, failure = time.monotonic(), None
    try:
        yield
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        note_stage(Stage(name, started_s, time.monotonic(), facts, failure))
