"""engine/surprise.py: sampling by how surprising tokens are."""

from __future__ import annotations

import math

import pytest
import torch

from foveal.engine.surprise import mirostat_bound, next_bound, typical, weighs_surprise, within
from foveal.types import SamplingParams

# bits of surprise: 1, 2, 3, 4, 4; the expected surprise is 1.875
PROBS = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625], dtype=torch.float64)
MIROSTAT = SamplingParams(mirostat_target=3.0, mirostat_lr=0.5)


def kept(probs: torch.Tensor) -> list[int]:
    return probs.nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("mass", "expected"),
    [
        (0.0, [1]),
        (0.25, [1]),
        (0.26, [0, 1]),
        (0.75, [0, 1]),
        (0.76, [0, 1, 2]),
        (0.9, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_typical_keeps_what_is_nearest_to_the_expected_surprise(mass: float, expected: list[int]) -> None:
    assert kept(typical(PROBS, mass)) == expected


def test_typical_takes_weights_and_draws_nothing_of_weight_zero() -> None:
    weights = torch.tensor([4.0, 0.0, 2.0, 2.0], dtype=torch.float64)
    assert typical(weights, 1.0).tolist() == [0.5, 0.0, 0.25, 0.25]
    assert kept(typical(weights, 0.999)) == [0, 2, 3]
    assert kept(typical(torch.tensor([0.0, 1.0], dtype=torch.float64), 0.1)) == [1]


@pytest.mark.parametrize(
    ("mu", "expected"),
    [(math.inf, [0, 1, 2, 3, 4]), (4.0, [0, 1, 2, 3, 4]), (3.9, [0, 1, 2]), (1.0, [0]), (-1e300, [0])],
)
def test_what_surprises_more_than_the_bound_goes_but_never_the_likeliest(mu: float, expected: list[int]) -> None:
    assert kept(within(PROBS, mu)) == expected


def test_the_first_bound_is_twice_the_target() -> None:
    assert mirostat_bound(MIROSTAT, None) == 6.0
    assert mirostat_bound(MIROSTAT, 2.5) == 2.5
    assert mirostat_bound(SamplingParams(), None) == math.inf


def test_a_draw_that_surprises_more_than_the_target_lowers_the_bound() -> None:
    assert next_bound(MIROSTAT, 6.0, 1 / 32) == 5.0
    assert next_bound(MIROSTAT, 6.0, 1 / 2) == 7.0
    assert next_bound(SamplingParams(), math.inf, 0.5) is None


def test_parameters_that_do_not_weigh_surprise_are_recognised() -> None:
    assert not weighs_surprise(SamplingParams())
    assert weighs_surprise(SamplingParams(typical_p=0.9))
    assert weighs_surprise(MIROSTAT)
