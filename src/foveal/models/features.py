"""From pixels to the rows of a step: what families whose towers encode single crops have in common.

Letters: N crops, S pixels a side of a crop, T rows of a step, W decoder width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from foveal.models.family import feature_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from foveal.layers.pieces import Pieces
    from foveal.layers.step import AfterLayer
    from foveal.models.family import CropRange, SequenceSlice


def own_crops(item: CropRange) -> Tensor:
    """The crops of a range of an image with pixels [num_crops, S, S, 3]: uint8 [N, S, S, 3]."""
    return item.pixels[item.start : item.stop]


def encode_together(
    work: Sequence[CropRange], crops: Callable[[CropRange], Tensor], encode: Callable[[Tensor], Pieces[Tensor]]
) -> Pieces[list[Tensor]]:
    """Crops in one run of `encode` (crops [N, ...] -> features [N, ...]); one tensor for each entry."""
    features = yield from encode(torch.cat([crops(item) for item in work]))
    return list(torch.split(features, [item.stop - item.start for item in work]))


def place_features(x_TW: Tensor, slices: Sequence[SequenceSlice]) -> None:
    """`ImageSide.place` of families whose features replace the embeddings of their positions."""
    for part in slices:
        for row, features in feature_rows(part):
            x_TW[row : row + len(features)] = features


def place_feature_sets(x_TW: Tensor, slices: Sequence[SequenceSlice]) -> AfterLayer | None:
    """`ImageSide.place` where features are sets side by side: one for the embeddings, the others (DeepStack) are added.

    Set n + 1 is added after layer n.
    """
    width = x_TW.shape[1]
    rows = [found for part in slices for found in feature_rows(part)]
    placed = [(row, torch.split(features, width, dim=1)) for row, features in rows]
    for row, (own, *_) in placed:
        x_TW[row : row + len(own)] = own
    if all(len(sets) == 1 for _, sets in placed):
        return None

    def add_features(layer: int, x_TW: Tensor) -> Tensor:
        for row, (_, *added) in placed:
            if layer < len(added):
                x_TW[row : row + len(added[layer])] += added[layer]
        return x_TW

    return add_features
