"""One request's bill: the most that it can take is reserved before it runs, and corrected at the end.

So concurrent requests cannot exceed a limit together that each would respect alone. Reserving and settling never
await. So no other request runs between a check and what is taken after it, and no cancellation prevents settling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from foveal.accounting.limits import Meter, Window
from foveal.accounting.prices import cost_nano, most_nano
from foveal.config import LimitConfig, PriceConfig
from foveal.errors import InvalidRequest, SpendingLimitReached, TooManyRequests
from foveal.types import Caller, Outcome, Status, Usage

SPENT = "The spending limit of this API key is reached. Ask the operator of this server to raise it."
TOO_DEAR = (
    "This request could cost more than what is left of this API key's spending limit: lower max_tokens or shorten the "
    "prompt, or ask the operator of this server to raise the limit."
)
HELD = "Requests that are running may use up what is left of this API key's spending limit; ask again when they ended."
WORST_FIRST: tuple[Status, ...] = ("failed", "aborted", "finished")


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits and prices of one request. Changes that are made while it runs do not affect it."""

    limits: LimitConfig
    prices: PriceConfig
    funds_nano: Callable[[], int | None]  # what the key has left to spend, reservations not subtracted; None: no limit


@dataclass(frozen=True, slots=True)
class Reservation:
    """The most that one prompt and its answers can take."""

    taken_s: float
    prompt_tokens: int
    generated_tokens: int
    nano: int


class Bill:
    """The bill of one HTTP request, which may have several prompts. `clock`: monotonic seconds."""

    def __init__(self, caller: Caller, model: str, meter: Meter, terms: Terms, clock: Callable[[], float]) -> None:
        self.caller = caller
        self.model = model
        self.num_parts = 0  # prompts that have not ended
        self.outcomes: list[Outcome] = []
        self.visit = ExitStack()  # what ends with the bill
        self._meter = meter
        self._terms = terms
        self._clock = clock
        self._reservations: list[Reservation] = []

    def reserve(self, prompt_tokens: int, generated_tokens: int) -> None:
        """Reserve the most that a prompt and its answers can take.

        Raises SpendingLimitReached, TooManyRequests, or InvalidRequest for more than a whole minute's limit.
        """
        meter, limits, now_s = self._meter, self._terms.limits, self._clock()
        nano = most_nano(self._terms.prices, prompt_tokens, generated_tokens)
        self._check_funds(nano)
        check_room(
            meter.prompt_tokens, prompt_tokens, limits.prompt_tokens_per_minute, "prompt tokens", now_s, param="prompt"
        )
        check_room(
            meter.generated_tokens,
            generated_tokens,
            limits.generated_tokens_per_minute,
            "generated tokens",
            now_s,
            param="max_tokens",
        )
        meter.prompt_tokens.take(prompt_tokens, now_s)
        meter.generated_tokens.take(generated_tokens, now_s)
        meter.reserved_nano += nano
        self._reservations.append(Reservation(now_s, prompt_tokens, generated_tokens, nano))

    def count(self, outcome: Outcome) -> None:
        """Record the outcome of a prompt that was reserved for."""
        self.outcomes.append(outcome)

    def settle(self) -> None:
        """Release what was reserved and not taken."""
        meter, usage = self._meter, self.usage
        unused_prompt = sum(reserved.prompt_tokens for reserved in self._reservations) - usage.prompt_tokens
        unused = sum(reserved.generated_tokens for reserved in self._reservations) - usage.completion_tokens
        for reserved in self._reservations:
            meter.reserved_nano -= reserved.nano
            unused_prompt -= _give_back(meter.prompt_tokens, unused_prompt, reserved.prompt_tokens, reserved.taken_s)
            unused -= _give_back(meter.generated_tokens, unused, reserved.generated_tokens, reserved.taken_s)

    @property
    def usage(self) -> Usage:
        """Usage of all prompts together."""
        return Usage.of_all([outcome.usage for outcome in self.outcomes])

    @property
    def status(self) -> Status:
        """The worst status of all prompts."""
        return min((outcome.status for outcome in self.outcomes), key=WORST_FIRST.index)

    @property
    def cost_nano(self) -> int:
        """The cost of all prompts. One that failed costs nothing."""
        usages = [outcome.usage for outcome in self.outcomes if outcome.status != "failed"]
        return sum(
            cost_nano(self._terms.prices, usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
            for usage in usages
        )

    @property
    def currency(self) -> str:
        """The currency of `cost_nano`."""
        return self._terms.prices.currency

    def _check_funds(self, nano: int) -> None:
        funds_nano = self._terms.funds_nano()
        if funds_nano is None:
            return
        if nano > funds_nano:
            raise SpendingLimitReached(TOO_DEAR)
        if nano > funds_nano - self._meter.reserved_nano:
            raise TooManyRequests(HELD, wait_s=1)


def _give_back(window: Window, unused: int, taken: int, taken_s: float) -> int:
    """Give back `unused`, but no more than was taken at that time. Returns the amount."""
    amount = max(0, min(unused, taken))
    window.give_back(amount, taken_s)
    return amount


def check_can_start(meter: Meter, terms: Terms, now_s: float) -> None:
    """The checks that need no prompt, before anything is fetched. Raises SpendingLimitReached or TooManyRequests."""
    limits, funds_nano = terms.limits, terms.funds_nano()
    if funds_nano is not None and funds_nano <= 0:
        raise SpendingLimitReached(SPENT)
    if limits.max_concurrent_requests and meter.num_running >= limits.max_concurrent_requests:
        raise TooManyRequests(
            f"The limit is {limits.max_concurrent_requests} requests at once. Ask again when one has ended.",
            wait_s=1,
        )
    check_room(meter.requests, 1, limits.requests_per_minute, "requests", now_s)


def check_room(window: Window, amount: int, limit: int, what: str, now_s: float, param: str | None = None) -> None:
    """Raises TooManyRequests, or InvalidRequest for an amount over a whole minute's limit."""
    wait_s = window.wait_s(amount, limit, now_s) if limit else 0.0
    if wait_s is None:
        raise InvalidRequest(
            f"This request takes up to {amount:,} {what}, and the limit is {limit:,} a minute: ask for less.",
            param=param,
        )
    if wait_s > 0:
        raise TooManyRequests(
            f"The limit of {limit:,} {what} a minute is reached. Ask again in {max(1, math.ceil(wait_s))} s.", wait_s
        )
