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

    from foveal.layers.decoder import Decoder
    from foveal.models.family import CropRange, InputBatch


def own_crops(item: CropRange, device: torch.device) -> Tensor:
    """The crops of a range, where an image's pixels are [num_crops, S, S, 3]: uint8 [N, S, S, 3] on `device`."""
    return item.pixels[item.start : item.stop].to(device)


def encode_together(
    work: Sequence[CropRange], crops: Callable[[CropRange], Tensor], encode: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """A step's crops in one run of `encode` (crops [N, ...] -> features [N, ...]); one tensor for each entry."""
    features = encode(torch.cat([crops(item) for item in work]))
    return list(torch.split(features, [item.stop - item.start for item in work]))


def embed_with_features(decoder: Decoder, batch: InputBatch) -> Tensor:
    """Embeddings of a step's tokens [T, W], image features in the places that take them."""
    x_TW = decoder.embed(batch.token_ids_T)
    for piece in batch.slices:
        for row, features in feature_rows(piece):
            x_TW[row : row + len(features)] = features
    return x_TW
