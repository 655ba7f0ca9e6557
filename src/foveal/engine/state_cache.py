"""The slots of states that are no pages (see layers.states): which sequence has which, and which are snapshots.

A running sequence of a hybrid model owns one slot, as it owns blocks. A snapshot is a copy of a sequence's state after
a whole number of blocks. It is found by the hash of the last of them. A sequence that begins with the same blocks
starts from a copy of it.

Of the snapshots the one goes first that is cheapest to compute again: that which lies the fewest blocks behind another
one on the same prompt, or whose blocks are evicted. With each eviction the others lose worth, unless they are used
(Greedy-Dual: Young, 1994). Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from foveal.engine.kv_cache import IntegrityError


@dataclass(slots=True)
class Snapshot:
    """The state after `num_blocks` blocks. `parent` is the hash of the next shorter snapshot of its prompt, if any."""

    slot: int
    num_blocks: int
    parent: bytes | None
    used_at: float  # how much worth others had lost at its last use


class StateCache:
    """`num_slots` slots for running sequences, numbered from 0, and after them `num_snapshots`.

    has_block: whether a block of this hash is in the block pool. Without it a snapshot is of no use.
    """

    def __init__(self, num_slots: int, num_snapshots: int, has_block: Callable[[bytes], bool]) -> None:
        self.num_slots = num_slots
        self.num_snapshots = num_snapshots
        self._has_block = has_block
        self._free = list(reversed(range(num_slots)))
        self._unused = list(reversed(range(num_slots, num_slots + num_snapshots)))
        self._kept: dict[bytes, Snapshot] = {}
        self._reserved: dict[bytes, Snapshot] = {}  # which the step is to write
        self._lost = 0.0  # worth that a snapshot loses while it is not used

    # --- of sequences -------------------------------------------------------------------------------------------------

    def take(self) -> int:
        """A slot for a sequence. There is one for each that may run."""
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def longest(self, block_hashes: Sequence[bytes]) -> int:
        """After how many of a prompt's blocks there is a snapshot: the most, or 0."""
        return next((n for n in range(len(block_hashes), 0, -1) if block_hashes[n - 1] in self._kept), 0)

    def use(self, block_hash: bytes) -> int:
        """The slot of a snapshot that `longest` has found. The step copies it before it writes anything."""
        snapshot = self._kept[block_hash]
        snapshot.used_at = self._lost
        return snapshot.slot

    def reserve(self, block_hashes: Sequence[bytes]) -> int | None:
        """A slot for the state after these blocks, to be written at the end of this step.

        None if it is there already, or if all others are worth more.
        """
        block_hash, num_blocks = block_hashes[-1], len(block_hashes)
        if block_hash in self._kept or block_hash in self._reserved:
            return None
        before = range(num_blocks - 1, 0, -1)
        found = (n for n in before if block_hashes[n - 1] in self._kept or block_hashes[n - 1] in self._reserved)
        length = next(found, 0)
        if not self._unused and not self._make_room(self._lost + num_blocks - length):
            return None
        parent = block_hashes[length - 1] if length else None
        self._reserved[block_hash] = Snapshot(self._unused.pop(), num_blocks, parent, self._lost)
        return self._reserved[block_hash].slot

    def settle(self, block_hash: bytes, is_written: bool) -> None:
        """Let others find a reserved snapshot, or give it up if its step failed."""
        snapshot = self._reserved.pop(block_hash)
        if is_written:
            self._kept[block_hash] = snapshot
        else:
            self._unused.append(snapshot.slot)

    def drop(self, block_hash: bytes) -> None:
        """Give a snapshot up, if it is still there. What comes after it on its prompt counts from the one before it."""
        dropped = self._kept.pop(block_hash, None)
        if dropped is None:
            return
        self._unused.append(dropped.slot)
        for snapshot in (*self._kept.values(), *self._reserved.values()):
            if snapshot.parent == block_hash:
                snapshot.parent = dropped.parent

    def check_integrity(self, slots: Iterable[int]) -> None:
        """Raise IntegrityError unless each slot is free, a snapshot's, or in the hands of one sequence."""
        if self._reserved:
            raise IntegrityError("a snapshot is reserved, and no step is to write it")
        of_snapshots = [snapshot.slot for snapshot in self._kept.values()]
        if sorted([*slots, *self._free, *of_snapshots, *self._unused]) != list(
            range(self.num_slots + self.num_snapshots)
        ):
            raise IntegrityError("a slot of states is lost, or has two owners")

    def _make_room(self, worth: float) -> bool:
        """Evict the snapshot that is worth least, unless that is the new one."""
        worths = {block_hash: self._worth(block_hash, snapshot) for block_hash, snapshot in self._kept.items()}
        least = min(worths, key=worths.__getitem__, default=None)
        if least is None:
            return False
        self._lost = max(self._lost, min(worth, worths[least]))
        if worths[least] >= worth:
            return False
        self.drop(least)
        return True

    def _worth(self, block_hash: bytes, snapshot: Snapshot) -> float:
        if not self._has_block(block_hash):
            return -math.inf
        parent = self._kept.get(snapshot.parent) if snapshot.parent else None
        return snapshot.used_at + snapshot.num_blocks - (parent.num_blocks if parent else 0)
