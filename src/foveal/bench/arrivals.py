"""Start times of conversations at a given rate: a Poisson process, as independent users make one."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def poisson(rate_per_s: float, seed: int, round_number: int = 0) -> Iterator[float]:
    """Seconds from the start of a round, ascending, without end. The same seed gives the same times."""
    random = Random(f"{seed}/{round_number}")
    at_s = 0.0
    while True:
        yield at_s
        at_s += random.expovariate(rate_per_s)
