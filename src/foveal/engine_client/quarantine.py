"""Which requests are sent to a restarted engine, and when. Pure book-keeping.

A request that was running when the engine died is retried; one that was running at two deaths is not sent again. After
a restart these requests are sent one by one: the next when the one before has produced a token or ended. So if one of
them kills the engine again, no other was running with it, and only that one is blamed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable

MAX_NUM_DEATHS = 2


class Quarantine:
    """Its methods are called for each step, death and restart of the engine, and return the requests to send."""

    def __init__(self) -> None:
        self._num_deaths: Counter[int] = Counter()
        self._running: frozenset[int] = frozenset()
        self._on_trial: int | None = None
        self._suspects: deque[int] = deque()

    def started(self, sequence_ids: Iterable[int]) -> None:
        """A step of these sequences began."""
        self._running = frozenset(sequence_ids)

    def died(self) -> list[int]:
        """The engine died; returns the requests that must not be sent again."""
        blamed = frozenset(i for i in self._running if i == self._on_trial) or self._running
        self._num_deaths.update(blamed)
        self._running, self._on_trial = frozenset(), None
        self._suspects.clear()
        return [sequence_id for sequence_id in blamed if self._num_deaths[sequence_id] >= MAX_NUM_DEATHS]

    def restarted(self, in_flight: Collection[int]) -> list[int]:
        """A new engine is ready; returns which of the requests in flight to send to it now."""
        self._num_deaths = Counter({i: self._num_deaths[i] for i in in_flight if i in self._num_deaths})
        self._suspects.extend(i for i in in_flight if i in self._num_deaths)
        return [*(i for i in in_flight if i not in self._num_deaths), *self._next_trial(in_flight)]

    def came_of_it(self, sequence_ids: Collection[int], in_flight: Collection[int]) -> list[int]:
        """A step produced a token of these requests or ended them; returns the requests to send now."""
        if self._on_trial is None or self._on_trial not in sequence_ids:
            return []
        return self._next_trial(in_flight)

    def _next_trial(self, in_flight: Collection[int]) -> list[int]:
        self._on_trial = None
        while self._suspects and self._on_trial is None:
            suspect = self._suspects.popleft()
            if suspect in in_flight:  # its client may have left since
                self._on_trial = suspect
        return [] if self._on_trial is None else [self._on_trial]
