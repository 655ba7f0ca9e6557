"""Counts requests by route and status, and keeps the last failures. Routes are the application's own, so no client can
add one.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import NamedTuple

MAX_FAILURES = 50


class Failure(NamedTuple):
    """A request that was refused or failed, a status of 200 in its stream. It has nothing of what the client sent."""

    ended: float  # unix seconds
    route: str
    status: int
    request_id: str


class Traffic:
    """The requests that have ended."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()
        self.failures: deque[Failure] = deque(maxlen=MAX_FAILURES)

    def count(self, route: str, status: int) -> None:
        self.counts[route, status] += 1

    def note_failure(self, route: str, status: int, request_id: str) -> None:
        self.failures.append(Failure(time.time(), route, status, request_id))
