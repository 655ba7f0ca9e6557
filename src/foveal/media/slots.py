"""Allocates slots of a memory region: first fit, neighbouring holes joined. Plain arithmetic; knows no pixels."""

from __future__ import annotations

import bisect

ALIGNMENT = 64  # bytes; a cache line, and enough for any copy


class Slots:
    """The slots of a region of `num_bytes`."""

    def __init__(self, num_bytes: int) -> None:
        self._holes = [(0, num_bytes // ALIGNMENT * ALIGNMENT)]  # (offset, length), ascending, no two of them touch
        self._taken: dict[int, int] = {}  # offset -> length

    @property
    def num_taken_bytes(self) -> int:
        return sum(self._taken.values())

    def allocate(self, num_bytes: int) -> int | None:
        """The offset of a slot of at least `num_bytes`; None where no hole is large enough."""
        length = slot_bytes(num_bytes)
        for i, (offset, hole) in enumerate(self._holes):
            if hole >= length:
                self._holes[i : i + 1] = [(offset + length, hole - length)] if hole > length else []
                self._taken[offset] = length
                return offset
        return None

    def free(self, offset: int) -> None:
        length = self._taken.pop(offset)
        i = bisect.bisect(self._holes, (offset, 0))
        if i < len(self._holes) and self._holes[i][0] == offset + length:
            length += self._holes.pop(i)[1]
        if i > 0 and sum(self._holes[i - 1]) == offset:
            i -= 1
            before, hole = self._holes.pop(i)
            offset, length = before, hole + length
        self._holes.insert(i, (offset, length))


def slot_bytes(num_bytes: int) -> int:
    """The bytes that a slot for `num_bytes` takes, aligned."""
    return max(1, -(-num_bytes // ALIGNMENT)) * ALIGNMENT
