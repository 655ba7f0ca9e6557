"""Which rows of a step take which image features."""

from __future__ import annotations

import pytest
import torch

from foveal.models.family import PlacedImage, SequenceSlice, feature_rows
from foveal.types import ImageSpan

FEATURES = torch.arange(5.0)[:, None]  # feature i is [i]; the image below stands at 10, 11, 12 and 20, 21
IMAGE = PlacedImage(FEATURES, (ImageSpan(10, 3), ImageSpan(20, 2)))


@pytest.mark.parametrize(
    ("start", "num_tokens", "found"),
    [
        (0, 10, []),
        (0, 30, [(110, [0, 1, 2]), (120, [3, 4])]),
        (0, 11, [(110, [0])]),
        (11, 1, [(100, [1])]),
        (12, 9, [(100, [2]), (108, [3])]),
        (13, 7, []),
        (21, 5, [(100, [4])]),
    ],
)
def test_a_slice_takes_the_features_that_stand_in_it(
    start: int, num_tokens: int, found: list[tuple[int, list[int]]]
) -> None:
    rows = feature_rows(SequenceSlice(row=100, num_tokens=num_tokens, start=start, images=(IMAGE,)))

    assert [(row, features.flatten().tolist()) for row, features in rows] == found


def test_features_that_are_not_needed_may_be_absent() -> None:
    piece = SequenceSlice(row=0, num_tokens=4, start=30, images=(PlacedImage(None, IMAGE.spans),))

    assert feature_rows(piece) == []
