"""Whose sequence comes next: callers take turns, however many sequences each has. Pure book-keeping.

A caller is what `Prompt.share` names. Where all sequences are one caller's, they come in the order of their arrival.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.engine.sequence import Sequence


class Line:
    """Sequences that wait, by caller."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Sequence]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Sequence]:
        for queue in self._queues.values():
            yield from queue

    def append(self, sequence: Sequence) -> None:
        self._queues.setdefault(sequence.prompt.share, deque()).append(sequence)

    def put_first(self, sequence: Sequence) -> None:
        """Before the others of its caller: it has run already."""
        self._queues.setdefault(sequence.prompt.share, deque()).appendleft(sequence)

    def remove(self, sequence: Sequence) -> None:
        queue = self._queues[sequence.prompt.share]
        queue.remove(sequence)
        if not queue:
            del self._queues[sequence.prompt.share]

    def next(self, num_running: Counter[str]) -> Sequence:
        """The first sequence of the caller of whom the fewest run; of several, one that has run, or the earliest."""
        heads = (queue[0] for queue in self._queues.values())
        return min(heads, key=lambda s: (num_running[s.prompt.share], s.num_cached_tokens is None, s.sequence_id))


def count_by_caller(running: Iterable[Sequence]) -> Counter[str]:
    return Counter(sequence.prompt.share for sequence in running)


def first_to_yield(running: Iterable[Sequence]) -> Sequence:
    """The latest sequence of the caller of whom the most run."""
    running = list(running)
    num_running = count_by_caller(running)
    return max(running, key=lambda s: (num_running[s.prompt.share], s.sequence_id))


def in_turns(sequences: Iterable[Sequence]) -> list[Sequence]:
    """The first sequence of each caller, then the second of each, and so on; each time in the order of arrival."""
    seen = Counter[str]()
    ranked = []
    for sequence in sequences:
        ranked.append((seen[sequence.prompt.share], sequence))
        seen[sequence.prompt.share] += 1
    return [sequence for _, sequence in sorted(ranked, key=lambda ranked: ranked[0])]
