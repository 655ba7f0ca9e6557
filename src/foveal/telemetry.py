"""Counters that stages keep of their own work. Does not know who reads them, or in which format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
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
