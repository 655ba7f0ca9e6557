"""Which requests are sent to a restarted engine, and when. Pure book-keeping.

The requests that were running when the engine died are suspects. They are tried in two halves, one after the other, and
nothing else is sent before both have passed. A request passes when it has produced a token or ended, and is then no
suspect any more. With each death outside trials that it sees it has to produce twice as many, so that one which always
dies later than its trial is found. If the engine dies during a trial, those of the half that were running are halved
again. A request is given up when the engine died while it was tried and ran alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable

LONGEST_TRIAL = 64  # tokens; a request that dies later than this each time comes so much further each time


class Quarantine:
    """Its methods are called for each step, death and restart of the engine; most return the requests to send."""

    def __init__(self) -> None:
        self._running: frozenset[int] = frozenset()
        self._groups: deque[list[int]] = deque()  # to be tried, in this order
        self._on_trial: set[int] = set()  # those of the group that have not passed yet
        self._num_deaths: Counter[int] = Counter()  # that a request in flight has seen while it ran, outside trials
        self._due: Counter[int] = Counter()  # tokens that those on trial have yet to produce
        self._sent: set[int] = set()  # to the engine that lives, while there are trials

    @property
    def is_trying(self) -> bool:
        """Whether new requests must wait until `came_of_it` returns them."""
        return bool(self._on_trial)

    def started(self, sequence_ids: Iterable[int]) -> None:
        """A step of these sequences began."""
        self._running = frozenset(sequence_ids)

    def died(self) -> list[int]:
        """The engine died; returns the requests that must not be sent again."""
        on_trial, running = self._on_trial, self._running or frozenset(self._on_trial)
        suspects = sorted(on_trial & running or running)
        if not on_trial:  # those of a trial have been counted
            self._num_deaths.update(suspects)
        is_proven = on_trial.issuperset(running) and len(running) == 1
        groups = [sorted(on_trial - running), *([] if is_proven else _halves(suspects))]
        self._groups.extendleft(filter(None, groups))
        self._running, self._on_trial, self._sent = frozenset(), set(), set()
        return suspects if is_proven else []

    def restarted(self, in_flight: Collection[int]) -> list[int]:
        """A new engine is ready; returns which of the requests in flight to send to it now."""
        self._num_deaths = Counter({i: number for i, number in self._num_deaths.items() if i in in_flight})
        return self._next(in_flight)

    def came_of_it(self, sequence_ids: Collection[int], in_flight: Collection[int]) -> list[int]:
        """A step produced a token of these requests or ended them; returns the requests to send now."""
        if not self._on_trial:
            return []
        self._due.subtract(self._on_trial.intersection(sequence_ids))
        self._on_trial = {i for i in self._on_trial if self._due[i] > 0}
        self._on_trial.intersection_update(in_flight)  # the clients of others may have left
        return [] if self._on_trial else self._next(in_flight)

    def _next(self, in_flight: Collection[int]) -> list[int]:
        """The next group, or, when all have passed, every request that has not been sent yet."""
        while self._groups and not self._on_trial:
            self._on_trial = {i for i in self._groups.popleft() if i in in_flight}
            self._due = Counter({i: self._num_tokens_of_trial(i) for i in self._on_trial})
        if not self._on_trial:
            unsent, self._sent = [i for i in in_flight if i not in self._sent], set()
            return unsent
        self._sent |= self._on_trial
        return sorted(self._on_trial)

    def _num_tokens_of_trial(self, sequence_id: int) -> int:
        return min(2 ** (self._num_deaths[sequence_id] - 1), LONGEST_TRIAL) if self._num_deaths[sequence_id] else 1


def _halves(suspects: list[int]) -> list[list[int]]:
    """The second half and the first."""
    middle = (len(suspects) + 1) // 2
    return [suspects[middle:], suspects[:middle]]
