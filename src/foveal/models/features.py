"""From pixels to the rows of a step: what families do alike whose tower sees crop by crop.

Letters: N crops, S pixels a side of a crop, T rows of a step, W decoder width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from foveal.models.family import feature_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from foveal.models.family import CropRange, SequenceSlice


def own_crops(item: CropRange) -> Tensor:
    """The crops of a range, where an image's pixels are [num_crops, S, S, 3]: uint8 [N, S, S, 3]."""
    return item.pixels[item.start : item.stop]


def encode_together(
    work: Sequence[CropRange], crops: Callable[[CropRange], Tensor], encode: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """A step's crops in one run of `encode` (crops [N, ...] -> features [N, ...]); one tensor for each entry."""
    features = encode(torch.cat([crops(item) for item in work]))
    return list(torch.split(features, [item.stop - item.start for item in work]))


def place_features(x_TW: Tensor, slices: Sequence[SequenceSlice]) -> None:
    """`ImageSide.place` where features are embeddings: each row of them takes its place."""
    for piece in slices:
        for row, features in feature_rows(piece):
            x_TW[row : row + len(features)] = features
