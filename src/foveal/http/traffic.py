"""Requests by route and status. Its labels are the application's routes: no client can make one up."""

from __future__ import annotations

from collections import Counter


class Traffic:
    """Counts the requests that have ended."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()

    def count(self, route: str, status: int) -> None:
        self.counts[route, status] += 1
