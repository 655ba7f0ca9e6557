"""A step's crops go through the tower together, and features take their places among the embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from foveal.layers.attention import AttentionBatch
from foveal.models.family import CropRange, InputBatch, PlacedImage, SequenceSlice
from foveal.models.features import embed_with_features, encode_together, own_crops
from foveal.types import ImageLayout, ImageSpan, Size

if TYPE_CHECKING:
    from foveal.layers.decoder import Decoder

CPU = torch.device("cpu")


def crop_range(first_value: int, start: int, stop: int) -> CropRange:
    """Of an image of three crops of one pixel; crop i has the value first_value + i."""
    pixels = (first_value + torch.arange(3, dtype=torch.uint8)).view(3, 1, 1, 1).expand(3, 1, 1, 3)
    return CropRange(pixels, ImageLayout(Size(1, 1), (3, 1, 1, 3), (1, 3), 3, 3), start, stop)


def test_crops_of_several_images_are_encoded_in_one_run_and_given_back_by_image() -> None:
    runs = []

    def encode(crops: torch.Tensor) -> torch.Tensor:
        runs.append(crops[:, 0, 0, 0].tolist())
        return crops[:, 0, 0, :1].float() * 2

    work = [crop_range(10, 1, 3), crop_range(20, 0, 1)]
    features = encode_together(work, lambda item: own_crops(item, CPU), encode)

    assert runs == [[11, 12, 20]]
    assert [each.flatten().tolist() for each in features] == [[22, 24], [40]]


class EmbedsItsIds:
    """Stands for a decoder: a token's embedding is its id."""

    def embed(self, token_ids_T: torch.Tensor) -> torch.Tensor:
        return token_ids_T[:, None].float()


def test_features_stand_where_the_sequences_have_their_images() -> None:
    image = PlacedImage(torch.tensor([[-1.0], [-2.0]]), (ImageSpan(1, 2),))
    batch = InputBatch(
        torch.arange(7),
        torch.zeros(1, 7, dtype=torch.int64),
        (SequenceSlice(0, 3, 0, ()), SequenceSlice(3, 4, 0, (image,))),
        AttentionBatch([0, 3, 7], [3, 4], [[0], [1]], torch.arange(7), 16),
    )

    embeddings = embed_with_features(cast("Decoder", EmbedsItsIds()), batch)

    assert embeddings.flatten().tolist() == [0, 1, 2, 3, -1, -2, 6]
