"""A step's crops go through the tower together, and features take their places among the embeddings."""

from __future__ import annotations

import torch

from foveal.layers.pieces import Pieces, at_once, finish
from foveal.models.family import CropRange, PlacedImage, SequenceSlice
from foveal.models.features import encode_together, own_crops, place_features
from foveal.types import ImageLayout, ImageSpan, Size


def crop_range(first_value: int, start: int, stop: int) -> CropRange:
    """Of an image of three crops of one pixel; crop i has the value first_value + i."""
    pixels = (first_value + torch.arange(3, dtype=torch.uint8)).view(3, 1, 1, 1).expand(3, 1, 1, 3)
    return CropRange(pixels, ImageLayout(Size(1, 1), (3, 1, 1, 3), (1, 3), 3, 3), start, stop)


def test_crops_of_several_images_are_encoded_in_one_run_and_given_back_by_image() -> None:
    runs = []

    def encode(crops: torch.Tensor) -> Pieces[torch.Tensor]:
        runs.append(crops[:, 0, 0, 0].tolist())
        return at_once(crops[:, 0, 0, :1].float() * 2)

    work = [crop_range(10, 1, 3), crop_range(20, 0, 1)]
    features = finish(encode_together(work, own_crops, encode))

    assert runs == [[11, 12, 20]]
    assert [each.flatten().tolist() for each in features] == [[22, 24], [40]]


def test_features_stand_where_the_sequences_have_their_images() -> None:
    image = PlacedImage(torch.tensor([[-1.0], [-2.0]]), (ImageSpan(1, 2),))
    embeddings = torch.arange(7.0)[:, None]

    place_features(embeddings, (SequenceSlice(0, 3, 0, ()), SequenceSlice(3, 4, 0, (image,))))

    assert embeddings.flatten().tolist() == [0, 1, 2, 3, -1, -2, 6]
