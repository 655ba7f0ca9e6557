"""Tokens become money here and nowhere else. Money is whole billionths of the currency (nano), so that sums are exact.

A price is for a million tokens, so a token at 0.2 costs 200 nano. A part of a nano is rounded, once for each sum.
"""

from __future__ import annotations

from decimal import Decimal

from foveal.config import PriceConfig

NANO = 1_000_000_000
MOST_MONEY = 1_000_000_000  # of the currency; a database's 64 bits hold nine times as much
_NANO_OF_A_TOKEN = NANO // 1_000_000  # at a price of 1


def has_prices(prices: PriceConfig) -> bool:
    return any(price is not None for price in (prices.prompt, prices.cached_prompt, prices.completion))


def cost_nano(prices: PriceConfig, prompt_tokens: int, completion_tokens: int = 0, cached_tokens: int = 0) -> int:
    """What the tokens cost. `cached_tokens` are those of the prompt that came from the prefix cache."""
    cached_price = prices.prompt if prices.cached_prompt is None else prices.cached_prompt
    total = (
        _exact(prices.prompt) * (prompt_tokens - cached_tokens)
        + _exact(cached_price) * cached_tokens
        + _exact(prices.completion) * completion_tokens
    )
    return round(total * _NANO_OF_A_TOKEN)


def most_nano(prices: PriceConfig, prompt_tokens: int, completion_tokens: int) -> int:
    """What the tokens cost at most, however many of them are cached."""
    none_cached = cost_nano(prices, prompt_tokens, completion_tokens)
    return max(none_cached, cost_nano(prices, prompt_tokens, completion_tokens, cached_tokens=prompt_tokens))


def to_nano(amount: float) -> int:
    return round(_exact(amount) * NANO)


def in_currency(nano: int) -> float:
    """For people and JSON, never for sums."""
    return nano / NANO


def _exact(amount: float | None) -> Decimal:
    """The decimal number as it was written, without a float's error. None is 0."""
    return Decimal(repr(amount)) if amount is not None else Decimal(0)
