"""The slots of states that are no pages (see layers.states): which sequence has which. Imports no torch.

A running sequence of a hybrid model owns one slot, as it owns blocks.
"""

from __future__ import annotations

from collections.abc import Iterable

from foveal.engine.kv_cache import IntegrityError


class StateCache:
    """`num_slots` slots for running sequences, numbered from 0."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self._free = list(reversed(range(num_slots)))

    def take(self) -> int:
        """A slot for a sequence. There is one for each that may run."""
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    def check_integrity(self, slots: Iterable[int]) -> None:
        """Raise IntegrityError unless each slot is free or in one sequence's hands."""
        if sorted([*slots, *self._free]) != list(range(self.num_slots)):
            raise IntegrityError("a slot of states is lost, or has two owners")
