"""Which text sees which image. (That the numbers are right is pinned in parity/.)"""

from __future__ import annotations

import sys

import pytest
import torch

from foveal.models.family import PlacedImage, SequenceSlice
from foveal.models.mllama.model import looks_of, visible_ranges
from foveal.types import ImageSpan

END = sys.maxsize


@pytest.mark.parametrize(
    ("offsets", "ranges"),
    [
        ([], []),
        ([3], [(3, END)]),
        ([3, 9], [(3, 9), (9, END)]),
        ([3, 4], [(3, END), (4, END)]),
        ([0, 1, 2, 7, 8], [(0, 7), (1, 7), (2, 7), (7, END), (8, END)]),
    ],
)
def test_an_image_is_seen_up_to_the_next_and_neighbours_together(
    offsets: list[int], ranges: list[tuple[int, int]]
) -> None:
    assert visible_ranges(offsets) == ranges


@pytest.mark.parametrize(
    ("start", "num_tokens", "looks"),
    [
        (0, 4, []),
        (0, 8, [(14, 15, [1]), (15, 18, [1, 2])]),
        (6, 6, [(10, 13, [1, 2]), (13, 16, [3])]),
        (20, 1, [(10, 11, [3])]),
    ],
)
def test_rows_look_at_what_is_seen_at_their_positions(
    start: int, num_tokens: int, looks: list[tuple[int, int, list[int]]]
) -> None:
    images = tuple(
        PlacedImage(torch.full((1, 2, 1, 1, 1), float(number)), (ImageSpan(offset, 1),))
        for number, offset in [(1, 4), (2, 5), (3, 9)]
    )

    found = looks_of(SequenceSlice(row=10, num_tokens=num_tokens, start=start, images=images))

    assert [(look.start, look.stop, look.seen[0, 0].flatten().tolist()) for look in found] == looks
