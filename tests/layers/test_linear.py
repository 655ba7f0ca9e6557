"""A matrix is loaded by name, however the checkpoint stores it, and put into the form that the policy chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from foveal.layers.linear.form import MatrixFacts
from foveal.layers.linear.int4 import packed
from foveal.layers.linear.int8 import rounded
from foveal.layers.linear.load import (
    Weights,
    convolution,
    load_embedding,
    load_linear,
    summed_frames,
    transposed,
)
from foveal.layers.linear.plain import Plain, SideBySide

WEIGHT = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
X = torch.tensor([[1.0, 10.0]])


def test_a_layer_without_a_bias() -> None:
    linear = load_linear(Weights({"up.weight": WEIGHT}), "up")

    assert linear(X).tolist() == [[21.0, 10.0, 3.0]]


def test_a_layer_with_a_bias() -> None:
    linear = load_linear(Weights({"up.weight": WEIGHT, "up.bias": torch.tensor([1.0, 2.0, 3.0])}), "up")

    assert linear(X).tolist() == [[22.0, 12.0, 6.0]]


def test_the_weight_is_not_copied() -> None:
    linear = load_linear(Weights({"up.weight": WEIGHT}), "up")

    assert isinstance(linear, Plain)
    assert linear.matrix.weight.data_ptr() == WEIGHT.data_ptr()


def test_products_stored_apart_stand_side_by_side_and_are_not_copied() -> None:
    weights = Weights({"q.weight": WEIGHT, "k.weight": WEIGHT[:1], "k.bias": torch.tensor([5.0])})

    joined = load_linear(weights, "qk", ("q", "k"))

    assert joined(X).tolist() == [[21.0, 10.0, 3.0, 26.0]]
    assert isinstance(joined, SideBySide)
    assert isinstance(joined.parts[0], Plain)
    assert joined.parts[0].matrix.weight.data_ptr() == WEIGHT.data_ptr()


def test_products_stored_as_one_are_one() -> None:
    joined = load_linear(Weights({"qk.weight": WEIGHT}), "qk", ("q", "k"))

    assert isinstance(joined, Plain)
    assert joined(X).tolist() == [[21.0, 10.0, 3.0]]


@pytest.mark.parametrize("separate", [False, True])
def test_a_layer_tells_its_sizes_and_the_dtype_that_it_takes(separate: bool) -> None:
    weight = WEIGHT.bfloat16()
    weights = Weights({"q.weight": weight, "k.weight": weight[:1]} if separate else {"qk.weight": weight})

    joined = load_linear(weights, "qk", ("q", "k"))

    assert (joined.in_features, joined.out_features, joined.dtype) == (2, 4 if separate else 3, torch.bfloat16)


@pytest.mark.parametrize(
    ("stored", "tensor"),
    [
        pytest.param(transposed, WEIGHT.T, id="transposed"),
        pytest.param(convolution, WEIGHT.view(3, 2, 1, 1), id="convolution"),
        pytest.param(
            summed_frames, torch.stack([WEIGHT / 4, WEIGHT * 3 / 4], dim=2)[..., None, None], id="summed frames"
        ),
    ],
)
def test_a_matrix_stored_otherwise_is_turned_at_load(stored: Callable[[Tensor], Tensor], tensor: Tensor) -> None:
    linear = load_linear(Weights({"up.weight": tensor}), "up", stored=stored)

    assert linear(X).tolist() == [[21.0, 10.0, 3.0]]


def test_a_matrix_may_lie_at_its_name_itself() -> None:
    assert load_linear(Weights({"up_weight": WEIGHT}), "up_weight")(X).tolist() == [[21.0, 10.0, 3.0]]


def test_rows_of_a_table_are_looked_up() -> None:
    embedding = load_embedding(Weights({"words.weight": WEIGHT}), "words")

    assert embedding.rows(torch.tensor([2, 0])).tolist() == [[3.0, 0.0], [1.0, 2.0]]


@dataclass
class Noting:
    """A policy that keeps what it was asked."""

    asked: list[MatrixFacts]

    def __call__(self, facts: MatrixFacts) -> str:
        self.asked.append(facts)
        return "plain"


def test_the_policy_is_asked_once_about_each_matrix_that_is_multiplied_or_looked_up() -> None:
    policy = Noting([])
    tensors = {"q.weight": WEIGHT, "k.weight": WEIGHT, "conv.weight": WEIGHT.view(3, 2, 1, 1), "words.weight": WEIGHT}
    weights = Weights(tensors, policy)

    load_linear(weights, "qk", ("q", "k"))
    load_linear(weights, "conv", stored=convolution)
    load_embedding(weights, "words")
    load_embedding(weights, "words", is_head=True)

    assert policy.asked == [
        MatrixFacts("qk", 6, 2, torch.float32, "product"),
        MatrixFacts("conv", 3, 2, torch.float32, "product"),
        MatrixFacts("words", 3, 2, torch.float32, "lookup"),
        MatrixFacts("words", 3, 2, torch.float32, "lookup and product"),
    ]


def test_a_weight_that_is_no_number_is_not_hidden_by_rounding() -> None:
    weight = torch.ones(3, 64)
    weight[1, 5] = float("nan")

    _, scales = rounded(weight)
    scales_of_groups = packed(weight).reshape(3, 2, 18)[:, :, :2].contiguous().view(torch.float16)[:, :, 0]

    assert scales.isfinite().tolist() == [True, False, True]
    assert scales_of_groups.isfinite().tolist() == [[True, True], [False, True], [True, True]]
