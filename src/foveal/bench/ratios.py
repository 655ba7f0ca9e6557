"""Two servers' samples become ratios: the first's figure divided by the second's, with an interval. Pure.

Both were asked the same requests, a round each in turn. Times are compared over requests that both answered. Intervals
are bootstrap percentile intervals: rounds are drawn with replacement, and both servers' figures are computed from the
same drawn rounds, so that what made a round slow for both (its pictures, the machine's weather) cancels out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from foveal.bench import timing
from foveal.bench.records import Ratio, Report, RoundTime, Run, Sample

NUM_DRAWS = 1000
MIN_ROUNDS = 6  # fewer say too little about each other for an interval
CONFIDENCE = (2.5, 97.5)  # percentiles of the draws
MAX_DIFFERENCE = 0.05  # in the answers' mean length, beyond which end-to-end times do not compare

Pairs = list[np.ndarray]  # one [num_requests, 2] a round
TIMES: tuple[tuple[str, Callable[[Sample], float | None], int], ...] = (
    ("ttft.p50", timing.ttft_s, 50),
    ("ttft.p90", timing.ttft_s, 90),
    ("tpot.p50", timing.tpot_s, 50),
    ("longest_gap.p50", timing.longest_gap_s, 50),
    ("e2e.p50", timing.e2e_s, 50),
    ("e2e.p90", timing.e2e_s, 90),
)


class _Work(NamedTuple):
    """What one server did in one round."""

    requests: int
    output_tokens: int
    busy_s: float


def ratios_of(run: Run, seed: int) -> tuple[Ratio, ...]:
    """Empty where the servers have nothing in common to compare."""
    rng = np.random.default_rng(seed)
    found = [_time_ratio(name, pairs_of(run, time_of), percent, rng) for name, time_of, percent in TIMES]
    work = [_work_of(*server) for server in zip(run.samples, run.rounds, strict=True)]
    found.append(_rate_ratio("requests_per_s", work, lambda done: done.requests, rng))
    found.append(_rate_ratio("output_tokens_per_s", work, lambda done: done.output_tokens, rng))
    return tuple(ratio for ratio in found if ratio is not None)


def pairs_of(run: Run, time_of: Callable[[Sample], float | None]) -> Pairs:
    """The times of requests that both servers answered, round by round."""
    first, second = ({s.request: time_of(s) for s in samples if s.error is None} for samples in run.samples)
    rounds: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for request, one_s in first.items():
        other_s = second.get(request)
        if one_s is not None and other_s is not None:
            rounds[request.round].append((one_s, other_s))
    return [np.array(rounds[number]) for number in sorted(rounds)]


def answers_differ(reports: Sequence[Report]) -> bool:
    """Whether one server's answers are so much longer that end-to-end times do not compare."""
    first, second = (report.output_tokens / max(1, report.num_answered) for report in reports)
    return abs(first - second) > MAX_DIFFERENCE * max(first, second)


def _time_ratio(name: str, pairs: Pairs, percent: int, rng: np.random.Generator) -> Ratio | None:
    def ratio_of(chosen: Sequence[np.ndarray]) -> float:
        first, second = np.percentile(np.concatenate(chosen), percent, axis=0)
        return float(first / second) if second > 0 else float("nan")

    return _ratio(name, pairs, ratio_of, rng, is_time=True) if pairs else None


def _rate_ratio(
    name: str, work: Sequence[dict[int, _Work]], amount: Callable[[_Work], int], rng: np.random.Generator
) -> Ratio | None:
    numbers = sorted(work[0].keys() & work[1].keys())
    rows = [np.array([[amount(each[number]), each[number].busy_s] for each in work]) for number in numbers]

    def ratio_of(chosen: Sequence[np.ndarray]) -> float:
        (done, busy_s), (other_done, other_busy_s) = np.sum(chosen, axis=0)
        divisor = other_done * busy_s
        return float(done * other_busy_s / divisor) if divisor > 0 else float("nan")

    return _ratio(name, rows, ratio_of, rng, is_time=False) if rows else None


def _ratio(
    name: str,
    rounds: Sequence[np.ndarray],
    ratio_of: Callable[[Sequence[np.ndarray]], float],
    rng: np.random.Generator,
    *,
    is_time: bool,
) -> Ratio | None:
    value = ratio_of(rounds)
    if not np.isfinite(value):
        return None
    if len(rounds) < MIN_ROUNDS:
        return Ratio(name, value, None, None, is_time)
    draws = rng.integers(len(rounds), size=(NUM_DRAWS, len(rounds)))
    ratios = [ratio_of([rounds[index] for index in draw]) for draw in draws]
    low, high = np.nanpercentile(ratios, CONFIDENCE)
    return Ratio(name, value, float(low), float(high), is_time)


def _work_of(samples: Sequence[Sample], rounds: Sequence[RoundTime]) -> dict[int, _Work]:
    answered: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.error is None:
            answered[sample.request.round].append(sample)
    return {
        number: _Work(len(answered[number]), sum(map(timing.num_tokens, answered[number])), ended_s - started_s)
        for number, started_s, ended_s in rounds
    }
