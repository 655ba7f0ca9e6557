"""Samples -> a report: distributions of times, rates, counts, errors by kind. Pure.

Only answered requests count in times and tokens. Rates are over the time in which the server was being asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from foveal.bench import timing
from foveal.bench.records import Counting, Distribution, Report, Request, RoundTime, Sample

PERCENTILES = (50, 90, 99)
KINDS: tuple[tuple[str, Callable[[Request], bool]], ...] = (
    ("first turn", lambda request: request.turn == 1),
    ("later turns", lambda request: request.turn > 1),
    ("beginning of its own", lambda request: request.turn == 1 and not request.is_shared),
    ("shared beginning", lambda request: request.turn == 1 and request.is_shared),
)


def report_of(samples: Sequence[Sample], rounds: Sequence[RoundTime], *, has_rate: bool) -> Report:
    answered = [sample for sample in samples if sample.error is None]
    errors = Counter(sample.error for sample in samples if sample.error is not None)
    busy_s = sum(ended_s - started_s for _, started_s, ended_s in rounds)
    output_tokens = sum(map(timing.num_tokens, answered))
    prompt_tokens = _sum(sample.prompt_tokens for sample in answered)
    return Report(
        num_answered=len(answered),
        num_failed=len(samples) - len(answered),
        num_without_text=sum(not sample.chunks_s for sample in answered),
        busy_s=busy_s,
        ttft=distribution_of(times(answered, timing.ttft_s)),
        ttft_of=_by_kind(answered),
        tpot=distribution_of(times(answered, timing.tpot_s)),
        gap=distribution_of([gap for sample in answered for gap in timing.gaps_s(sample)]),
        e2e=distribution_of(times(answered, timing.e2e_s)),
        lag=distribution_of(times(answered, timing.lag_s)) if has_rate else None,
        requests_per_s=_rate(len(answered), busy_s),
        output_tokens_per_s=_rate(output_tokens, busy_s),
        prompt_tokens_per_s=None if prompt_tokens is None else _rate(prompt_tokens, busy_s),
        output_tokens=output_tokens,
        prompt_tokens=prompt_tokens,
        cached_tokens=_sum(sample.cached_tokens for sample in answered),
        tokens_counted_by=_counting(answered),
        errors=tuple(errors.most_common()),
    )


def times(samples: Iterable[Sample], time_of: Callable[[Sample], float | None]) -> list[float]:
    """The times of the samples that have one."""
    return [time_s for time_s in map(time_of, samples) if time_s is not None]


def distribution_of(times_s: Sequence[float]) -> Distribution | None:
    if not times_s:
        return None
    p50, p90, p99 = (float(value) for value in np.percentile(times_s, PERCENTILES, method="linear"))
    return Distribution(len(times_s), float(np.mean(times_s)), p50, p90, p99, max(times_s))


def _by_kind(answered: Sequence[Sample]) -> tuple[tuple[str, Distribution], ...]:
    """Times to the first token by kind of request, since caches speed up some kinds. A kind with all is left out."""
    found = []
    for name, is_of in KINDS:
        of_kind = distribution_of(times((each for each in answered if is_of(each.request)), timing.ttft_s))
        if of_kind is not None and of_kind.count < len(times(answered, timing.ttft_s)):
            found.append((name, of_kind))
    return tuple(found)


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum of the known counts; None if none is known."""
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


def _rate(count: int, busy_s: float) -> float:
    return count / busy_s if busy_s > 0 else 0.0


def _counting(answered: Sequence[Sample]) -> Counting:
    by_usage = sum(sample.completion_tokens is not None for sample in answered)
    if by_usage == 0:
        return "chunks"
    return "usage" if by_usage == len(answered) else "mixed"
