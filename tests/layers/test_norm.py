"""The norms, against their formulas in float64."""

from __future__ import annotations

import pytest
import torch

from foveal.layers.norm import LayerNorm, OffsetRMSNorm, RMSNorm, load_norm

DTYPES = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])


def tensors(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    drawn = {"x": torch.randn(3, 64) + 1, "norm.weight": torch.rand(64), "norm.bias": torch.rand(64)}
    return {name: tensor.to(dtype) for name, tensor in drawn.items()}


@DTYPES
def test_rms_norm_divides_by_the_root_of_the_mean_square(dtype: torch.dtype, tolerance: float) -> None:
    weights = tensors(dtype)
    x = weights["x"]

    y = RMSNorm.load(weights, "norm", eps=1e-5)(x)

    exact = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt() * weights["norm.weight"].double()
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), exact, atol=tolerance, rtol=0)


@DTYPES
def test_layer_norm_takes_away_the_mean_too(dtype: torch.dtype, tolerance: float) -> None:
    weights = tensors(dtype)
    x = weights["x"]

    y = LayerNorm.load(weights, "norm", eps=1e-5)(x)

    centred = x.double() - x.double().mean(-1, keepdim=True)
    exact = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    exact = exact * weights["norm.weight"].double() + weights["norm.bias"].double()
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), exact, atol=tolerance, rtol=0)


@DTYPES
def test_an_offset_norm_adds_one_to_its_weight(dtype: torch.dtype, tolerance: float) -> None:
    weights = tensors(dtype)
    x = weights["x"]

    y = OffsetRMSNorm.load(weights, "norm", eps=1e-5)(x)

    exact = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt()
    exact = exact * (1 + weights["norm.weight"].double())
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), exact, atol=2 * tolerance, rtol=0)


def test_a_norm_with_a_bias_is_a_layer_norm() -> None:
    weights = tensors(torch.float32)
    without_bias = {"norm.weight": weights["norm.weight"]}

    assert isinstance(load_norm(weights, "norm", 1e-5), LayerNorm)
    assert isinstance(load_norm(without_bias, "norm", 1e-5), RMSNorm)
