"""Counts requests by route and status. Routes are the application's own, so no client can add one."""

from __future__ import annotations

from collections import Counter


class Traffic:
    """Counts the requests that have ended."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()

    def count(self, route: str, status: int) -> None:
        self.counts[route, status] += 1
