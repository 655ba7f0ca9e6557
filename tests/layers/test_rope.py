"""Rotary positions: relative, norm-preserving, and scaled as LongRoPE says."""

from __future__ import annotations

import math

import pytest
import torch

from foveal.layers.rope import frequencies, longrope_attention_factor, rotate, rotation


def turned(x: torch.Tensor, positions: list[int]) -> torch.Tensor:
    return rotate(x, rotation(torch.tensor(positions)[:, None] * frequencies(x.shape[-1], 10000.0)))


def test_frequencies_fall_from_one_by_powers_of_theta() -> None:
    assert frequencies(4, 100.0).tolist() == pytest.approx([1.0, 0.1])


def test_the_first_position_is_not_turned() -> None:
    x = torch.randn(1, 2, 8)

    assert torch.equal(turned(x, [0]), x)


def test_each_pair_of_channels_turns_by_position_times_frequency() -> None:
    x = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])  # the pair is channels 0 and 2

    assert turned(x, [3]).flatten().tolist() == pytest.approx([math.cos(3), 0, math.sin(3), 0])


def test_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 16), torch.randn(1, 1, 16)

    products = [(turned(query, [p + 5]) * turned(key, [p])).sum().item() for p in (0, 7, 100)]

    assert products == pytest.approx([products[0]] * 3, abs=1e-4)


def test_rotation_keeps_the_dtype() -> None:
    assert turned(torch.randn(1, 1, 8, dtype=torch.bfloat16), [9]).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("context", "original", "factor"),
    [(4096, 4096, 1.0), (2048, 4096, 1.0), (131072, 4096, math.sqrt(1 + math.log(32) / math.log(4096)))],
)
def test_the_attention_factor_grows_with_the_context(context: int, original: int, factor: float) -> None:
    assert longrope_attention_factor(context, original) == pytest.approx(factor)
