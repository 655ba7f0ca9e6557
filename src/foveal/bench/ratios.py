"""Two servers' samples -> ratios: the first server's figure divided by the second's, with an interval. Pure.

Both were asked the same requests, a round each in turn. Times are compared over requests that both answered. Intervals
are bootstrap percentile intervals: rounds are drawn with replacement. Both servers' figures are computed from the same
drawn rounds. So whatever slowed a round for both (its pictures, other load on the machine) cancels out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from foveal.bench import timing
from foveal.bench.records import Ratio, Report, RoundTime, Run, Sample

NUM_DRAWS = 1000
MIN_ROUNDS = 8  # with fewer, there is no interval
Z = 1.96  # of 95 %
MAX_NUMBERS = 4_000_000  # sorted at once, which bounds memory
MAX_DIFFERENCE = 0.05  # relative, of the answers' mean lengths; beyond it, end-to-end times cannot be compared

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
    """The ratios of a run with two servers. Empty where no request can be compared."""
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
    """Whether one server's answers are so much longer that end-to-end times cannot be compared."""
    first, second = (report.output_tokens / max(1, report.num_answered) for report in reports)
    return abs(first - second) > MAX_DIFFERENCE * max(first, second)


def _time_ratio(name: str, pairs: Pairs, percent: int, rng: np.random.Generator) -> Ratio | None:
    if not pairs:
        return None
    padded = _padded(pairs)
    (value,) = _percentile_ratios(padded, np.arange(len(pairs))[None], percent)
    draws = _draws(len(pairs), rng)
    most = max(1, MAX_NUMBERS // padded.size)
    parts = [_percentile_ratios(padded, draws[at : at + most], percent) for at in range(0, len(draws), most)]
    return _ratio(name, value, np.concatenate([*parts, []]), len(pairs), is_time=True)


def _rate_ratio(
    name: str, work: Sequence[dict[int, _Work]], amount: Callable[[_Work], int], rng: np.random.Generator
) -> Ratio | None:
    numbers = sorted(work[0].keys() & work[1].keys())
    if not numbers:
        return None
    rows = np.array([[[amount(each[number]), each[number].busy_s] for each in work] for number in numbers])
    (value,) = _rate_ratios(rows, np.arange(len(rows))[None])
    return _ratio(name, value, _rate_ratios(rows, _draws(len(rows), rng)), len(rows), is_time=False)


def _ratio(name: str, value: float, drawn: np.ndarray, num_rounds: int, *, is_time: bool) -> Ratio | None:
    if not np.isfinite(value):
        return None
    if num_rounds < MIN_ROUNDS:
        return Ratio(name, float(value), None, None, is_time)
    low, high = np.nanpercentile(drawn, confidence(num_rounds))
    return Ratio(name, float(value), float(low), float(high), is_time)


def _draws(num_rounds: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of drawn rounds, [num_draws, num_rounds]; no draws where there are too few rounds."""
    num_draws = NUM_DRAWS if num_rounds >= MIN_ROUNDS else 0
    return rng.integers(num_rounds, size=(num_draws, num_rounds))


def _padded(pairs: Pairs) -> np.ndarray:
    """One array, [num_rounds, most requests of a round, 2], with NaN where a round has fewer."""
    padded = np.full((len(pairs), max(map(len, pairs)), 2), np.nan)
    for row, of_round in zip(padded, pairs, strict=True):
        row[: len(of_round)] = of_round
    return padded


def _percentile_ratios(padded: np.ndarray, draws: np.ndarray, percent: int) -> np.ndarray:
    """The percentile of the first server's times over that of the second's, for each draw (interpolation: linear)."""
    values = np.sort(padded[draws].reshape(len(draws), -1, 2), axis=1)  # NaN comes last
    counts = (~np.isnan(padded[:, :, 0])).sum(axis=1)[draws].sum(axis=1)
    places = (counts - 1) * percent / 100
    below, above = (np.take_along_axis(values, at[:, None, None], axis=1)[:, 0] for at in _neighbours(places))
    first, second = (below + (above - below) * (places % 1)[:, None]).T
    return _divided(first, second)


def _neighbours(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.floor(places).astype(int), np.ceil(places).astype(int)


def _rate_ratios(rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """`rows` has amount and time of both servers, [num_rounds, 2, 2]."""
    sums = rows[draws].sum(axis=1)  # [num_draws, 2, 2]
    return _divided(sums[:, 0, 0] * sums[:, 1, 1], sums[:, 1, 0] * sums[:, 0, 1])


def _divided(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    quotients = np.full(first.shape, np.nan)
    np.divide(first, second, out=quotients, where=second > 0)
    return quotients


def confidence(num_rounds: int) -> tuple[float, float]:
    """The percentiles of the draws that bound a 95 % interval.

    A bootstrap of few values gives too narrow an interval. The expanded percentile interval of Hesterberg (2015)
    widens it as Student's t widens the normal distribution's.
    """
    t = Z + (Z**3 + Z) / (4 * (num_rounds - 1))  # Student's, to the first order
    tail = 100 * NormalDist().cdf(-t * math.sqrt(num_rounds / (num_rounds - 1)))
    return tail, 100 - tail


def _work_of(samples: Sequence[Sample], rounds: Sequence[RoundTime]) -> dict[int, _Work]:
    answered: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.error is None:
            answered[sample.request.round].append(sample)
    return {
        number: _Work(len(answered[number]), sum(map(timing.num_tokens, answered[number])), ended_s - started_s)
        for number, started_s, ended_s in rounds
    }
