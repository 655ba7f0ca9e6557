"""layers/linear: matrices that are rounded at load keep their outputs near, alone and joined, tied and in blocks."""

from __future__ import annotations

import pytest
import torch

from foveal.layers.linear import int4, int8
from foveal.layers.linear.form import Matrix, MatrixFacts, Part, Use
from foveal.layers.linear.load import Weights, load_embedding, load_linear
from foveal.layers.linear.plain import Plain
from foveal.layers.linear.policy import policy_of
from foveal.layers.linear.quantised import Quantised, QuantisedEmbedding, dequantised

RANDOM = torch.Generator().manual_seed(7)
WEIGHT, BIAS = torch.randn(48, 64, generator=RANDOM), torch.randn(48, generator=RANDOM)
X = torch.randn(5, 64, generator=RANDOM)


@pytest.mark.parametrize(("form", "error"), [("int8", 0.006), ("int4", 0.1)])
def test_rounded_products_stay_near(form: str, error: float) -> None:
    linear = load_linear(Weights({"up.weight": WEIGHT, "up.bias": BIAS}, lambda facts: form), "up")

    exact = X @ WEIGHT.T
    assert ((linear(X) - BIAS - exact).square().mean() / exact.square().mean()).sqrt() < error


def test_parts_become_one_matrix_and_a_part_without_a_bias_adds_nothing() -> None:
    weights = {"q.weight": WEIGHT, "k.weight": WEIGHT[:7], "k.bias": BIAS[:7]}

    joined = load_linear(Weights(weights, policy_of("int8")), "qk", ("q", "k"))

    assert isinstance(joined, Quantised)
    alone = load_linear(Weights({"q.weight": WEIGHT}, policy_of("int8")), "q")
    torch.testing.assert_close(joined(X), torch.cat([alone(X), alone(X)[:, :7] + BIAS[:7]], 1), rtol=1e-3, atol=1e-3)


def test_tied_embeddings_are_looked_up_as_published_and_multiplied_rounded() -> None:
    table = load_embedding(Weights({"words.weight": WEIGHT}, policy_of("int8")), "words", is_head=True)

    assert isinstance(table, QuantisedEmbedding)
    assert torch.equal(table.rows(torch.tensor([3, 3, 47])), WEIGHT[[3, 3, 47]])
    torch.testing.assert_close(table(X), X @ dequantised(table.product).T, rtol=1e-3, atol=1e-3)


def test_embeddings_that_are_only_looked_up_stay_plain() -> None:
    assert isinstance(load_embedding(Weights({"words.weight": WEIGHT}, policy_of("int4")), "words"), Plain)


def test_outputs_have_the_dtype_of_the_model() -> None:
    linear = load_linear(Weights({"up.weight": WEIGHT.bfloat16()}, policy_of("int8")), "up")

    assert linear.dtype == linear(X.bfloat16()).dtype == torch.bfloat16


def test_an_output_whose_weights_are_all_zero() -> None:
    for form in (int8.INT8, int4.INT4):
        assert form.linear((Matrix(torch.zeros(2, 32)),))(X[:, :32]).tolist() == [[0.0, 0.0]] * 5


def test_blocks_of_int4_are_those_of_gguf() -> None:
    gguf = pytest.importorskip("gguf")

    ours = int4.packed(WEIGHT)

    read = torch.from_numpy(gguf.quants.dequantize(ours.numpy(), gguf.GGMLQuantizationType.Q4_0))
    theirs = torch.from_numpy(
        gguf.quants.dequantize(
            gguf.quants.quantize(WEIGHT.numpy(), gguf.GGMLQuantizationType.Q4_0), gguf.GGMLQuantizationType.Q4_0
        )
    )
    assert torch.equal(read, dequantised(Quantised(1, ours, None, None, 64, torch.float32)))
    assert (read - WEIGHT).square().sum() <= (theirs - WEIGHT).square().sum()


@pytest.mark.parametrize(
    ("quantization", "part", "in_features", "use", "form"),
    [
        ("none", "decoder layers", 64, "product", "plain"),
        ("int8", "decoder layers", 64, "product", "int8"),
        ("int8", "the rest", 7, "lookup and product", "int8"),
        ("int8", "the rest", 64, "lookup", "plain"),
        ("int4", "decoder layers", 64, "product", "int4"),
        ("int4", "decoder layers", 65, "product", "int8"),
        ("int4", "the rest", 64, "product", "int8"),
        ("int4", "the rest", 64, "lookup and product", "int8"),
    ],
)
def test_which_form_a_matrix_gets(quantization: str, part: Part, in_features: int, use: Use, form: str) -> None:
    facts = MatrixFacts("up", 10, in_features, torch.float32, use, part)

    assert policy_of(quantization)(facts) == form
