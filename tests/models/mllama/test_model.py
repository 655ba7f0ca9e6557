"""Which text attends to which image. (That the numbers are right is tested in parity/.)"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
import torch

from foveal.layers.pieces import finish
from foveal.models.family import CropRange, PlacedImage, SequenceSlice
from foveal.models.mllama.model import MllamaImages, seen_by, visible_ranges
from foveal.types import ImageLayout, ImageSpan, Size
from tests.parity.families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

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
def test_text_attends_to_the_last_image_and_to_images_adjoining_it(
    offsets: list[int], ranges: list[tuple[int, int]]
) -> None:
    assert visible_ranges(offsets) == ranges


@pytest.mark.parametrize(
    ("start", "num_tokens", "expected"),
    [
        (0, 4, []),
        (0, 8, [(14, 15, [1]), (15, 18, [1, 2])]),
        (6, 6, [(10, 13, [1, 2]), (13, 16, [3])]),
        (20, 1, [(10, 11, [3])]),
    ],
)
def test_rows_attend_to_the_images_for_their_positions(
    start: int, num_tokens: int, expected: list[tuple[int, int, list[int]]]
) -> None:
    images = tuple(
        PlacedImage(torch.full((1, 2, 1, 1, 1), float(number)), (ImageSpan(offset, 1),))
        for number, offset in [(1, 4), (2, 5), (3, 9)]
    )

    found = seen_by(SequenceSlice(row=10, num_tokens=num_tokens, start=start, images=images))

    assert [(seen.start, seen.stop, seen.kv[0, 0].flatten().tolist()) for seen in found] == expected


def test_real_tiles_attend_to_padding_tiles_so_these_cannot_be_left_out(tmp_path: Path) -> None:
    images = cast("MllamaImages", FAMILIES["mllama"].make(tmp_path, 0).ours.images)
    one_tile = ImageLayout(Size(28, 28), (28, 28, 3), (1, 1), num_crops=1, num_tokens=5)
    work = [CropRange(torch.zeros(28, 28, 3, dtype=torch.uint8), one_tile, 0, 1)]
    [states] = finish(images.encode_crops(work))

    others = images.tower.before.clone()
    others[:, 1:] *= -3
    [changed] = finish(replace(images, tower=replace(images.tower, before=others)).encode_crops(work))

    assert states.shape == changed.shape == (1, 5, 48)
    assert (changed - states).abs().max() > 0.01
