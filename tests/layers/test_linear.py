"""A linear layer is loaded by name, with the bias that the checkpoint has."""

from __future__ import annotations

import torch

from foveal.layers.linear import Joined, Linear

WEIGHT = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
X = torch.tensor([[1.0, 10.0]])


def test_a_layer_without_a_bias() -> None:
    linear = Linear.load({"up.weight": WEIGHT}, "up")

    assert linear(X).tolist() == [[21.0, 10.0, 3.0]]


def test_a_layer_with_a_bias() -> None:
    linear = Linear.load({"up.weight": WEIGHT, "up.bias": torch.tensor([1.0, 2.0, 3.0])}, "up")

    assert linear(X).tolist() == [[22.0, 12.0, 6.0]]


def test_the_weight_is_not_copied() -> None:
    assert Linear.load({"up.weight": WEIGHT}, "up").weight.data_ptr() == WEIGHT.data_ptr()


def test_products_stored_apart_stand_side_by_side() -> None:
    tensors = {"q.weight": WEIGHT, "k.weight": WEIGHT[:1], "k.bias": torch.tensor([5.0])}

    joined = Joined.load(tensors, "qk", ("q", "k"))

    assert joined(X).tolist() == [[21.0, 10.0, 3.0, 26.0]]


def test_products_stored_as_one_are_one() -> None:
    joined = Joined.load({"qk.weight": WEIGHT}, "qk", ("q", "k"))

    assert len(joined.parts) == 1
    assert joined(X).tolist() == [[21.0, 10.0, 3.0]]
