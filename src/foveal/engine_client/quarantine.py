"""Which requests go to an engine that was restarted, when, and which no longer. Pure book-keeping.

A request that was running when the engine died is a suspect; at its second death it is not sent again. After a restart
suspects go one by one: the next when the one on trial is past the step that it died in. So if one of them kills the
engine again, the others have not been running with it, and only it is blamed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable

MAX_NUM_DEATHS = 2


class Quarantine:
    """Told what runs, what came of it and when the engine died; says what to send."""

    def __init__(self) -> None:
        self._num_deaths: Counter[int] = Counter()
        self._running: frozenset[int] = frozenset()
        self._on_trial: int | None = None
        self._suspects: deque[int] = deque()

    def started(self, sequence_ids: Iterable[int]) -> None:
        """A step began that computes for these."""
        self._running = frozenset(sequence_ids)

    def died(self) -> list[int]:
        """The engine is dead: the requests that are not to be sent again."""
        blamed = frozenset(i for i in self._running if i == self._on_trial) or self._running
        self._num_deaths.update(blamed)
        self._running, self._on_trial = frozenset(), None
        self._suspects.clear()
        return [sequence_id for sequence_id in blamed if self._num_deaths[sequence_id] >= MAX_NUM_DEATHS]

    def restarted(self, in_flight: Collection[int]) -> list[int]:
        """A new engine is ready: what to send to it at once, of the requests in flight."""
        self._num_deaths = Counter({i: self._num_deaths[i] for i in in_flight if i in self._num_deaths})
        self._suspects.extend(i for i in in_flight if i in self._num_deaths)
        return [*(i for i in in_flight if i not in self._num_deaths), *self._next_trial(in_flight)]

    def came_of_it(self, sequence_ids: Collection[int], in_flight: Collection[int]) -> list[int]:
        """A step gave these a token or ended them: what to send now."""
        if self._on_trial is None or self._on_trial not in sequence_ids:
            return []
        return self._next_trial(in_flight)

    def _next_trial(self, in_flight: Collection[int]) -> list[int]:
        self._on_trial = None
        while self._suspects and self._on_trial is None:
            suspect = self._suspects.popleft()
            if suspect in in_flight:  # its client may have left meanwhile
                self._on_trial = suspect
        return [] if self._on_trial is None else [self._on_trial]
