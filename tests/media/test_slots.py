"""Which bytes of a region are allocated."""

from __future__ import annotations

import random

from foveal.media.slots import Slots, slot_bytes


def test_slots_are_aligned_and_side_by_side() -> None:
    slots = Slots(1024)

    assert [slots.allocate(n) for n in (1, 64, 65, 0)] == [0, 64, 128, 256]
    assert slots.num_taken_bytes == 320


def test_the_whole_region_and_no_more() -> None:
    slots = Slots(1000)  # not a whole number of lines: the last 40 bytes are never used

    assert slots.allocate(961) is None
    assert slots.allocate(960) == 0
    assert slots.allocate(1) is None


def test_neighbouring_holes_are_joined() -> None:
    slots = Slots(256)
    offsets = [slots.allocate(64) for _ in range(4)]
    for offset in (offsets[0], offsets[2], offsets[1], offsets[3]):
        assert offset is not None
        slots.free(offset)

    assert slots.allocate(256) == 0


def test_no_two_slots_ever_overlap() -> None:
    chance = random.Random(7)
    slots = Slots(1 << 16)
    taken: dict[int, int] = {}
    for _ in range(3000):
        num_bytes = chance.randrange(1, 4000)
        offset = slots.allocate(num_bytes)
        if offset is not None:
            end = offset + slot_bytes(num_bytes)
            assert end <= 1 << 16
            assert all(end <= other or other + length <= offset for other, length in taken.items())
            taken[offset] = slot_bytes(num_bytes)
        if taken and (offset is None or chance.random() < 0.4):
            victim = chance.choice(list(taken))
            slots.free(victim)
            del taken[victim]
        assert slots.num_taken_bytes == sum(taken.values())
    for offset in taken:
        slots.free(offset)

    assert slots.allocate(1 << 16) == 0
