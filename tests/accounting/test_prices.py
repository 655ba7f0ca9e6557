"""Money, exact to the billionth."""

from fractions import Fraction

import pytest

from foveal.accounting.prices import cost_nano, has_prices, in_currency, most_nano, to_nano
from foveal.config import PriceConfig

PRICES = PriceConfig(prompt=0.2, cached_prompt=0.05, completion=0.6)


@pytest.mark.parametrize(
    ("prompt", "cached", "completion", "nano"),
    [
        (0, 0, 0, 0),
        (1, 0, 0, 200),
        (0, 0, 1, 600),
        (1_000_000, 0, 0, 200_000_000),
        (100, 60, 10, 40 * 200 + 60 * 50 + 10 * 600),
        (100, 100, 0, 100 * 50),
    ],
)
def test_a_million_tokens_cost_the_price(prompt: int, cached: int, completion: int, nano: int) -> None:
    assert cost_nano(PRICES, prompt, completion, cached) == nano


def test_cached_tokens_cost_what_others_cost_unless_they_have_a_price() -> None:
    assert cost_nano(PriceConfig(prompt=0.2), 10, cached_tokens=7) == 2_000
    assert cost_nano(PriceConfig(prompt=0.2, cached_prompt=0.0), 10, cached_tokens=7) == 600


@pytest.mark.parametrize("price", [0.1, 0.0375, 1e-7, 123456.789, 0.3])
def test_no_part_is_lost_to_floating_point(price: float) -> None:
    exact = Fraction(repr(price)) * 999_999_937 * 1_000
    assert abs(cost_nano(PriceConfig(prompt=price), 999_999_937) - exact) <= Fraction(1, 2)


def test_the_most_is_no_less_than_any_outcome() -> None:
    for prices in (PRICES, PriceConfig(prompt=0.2, cached_prompt=0.9, completion=0.6)):
        outcomes = [cost_nano(prices, 100, 50, cached) for cached in range(101)]
        assert most_nano(prices, 100, 50) == max(outcomes)


def test_without_prices_nothing_costs() -> None:
    assert not has_prices(PriceConfig())
    assert has_prices(PriceConfig(completion=0.0))
    assert cost_nano(PriceConfig(), 10**9, 10**9) == 0


def test_amounts_are_those_that_were_written() -> None:
    assert to_nano(0.1) == 100_000_000
    assert in_currency(to_nano(12.345678901)) == 12.345678901
