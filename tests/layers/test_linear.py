"""A linear layer is loaded by name, with the bias that the checkpoint has."""

from __future__ import annotations

import torch

from foveal.layers.linear import Linear

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
