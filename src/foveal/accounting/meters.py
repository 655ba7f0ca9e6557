"""What keys take, measured against their limits: here by one server alone. `shared_meters` does it for several.

Local meters never await, so that no other request runs between a check and what is taken after it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from foveal.accounting.limits import Meter, Standing, Window, standing
from foveal.config import LimitConfig, PriceConfig
from foveal.errors import InvalidRequest, SpendingLimitReached, TooManyRequests

SPENT = "The spending limit of this API key is reached. Ask the operator of this server to raise it."
TOO_DEAR = (
    "This request could cost more than what is left of this API key's spending limit: lower max_tokens or shorten the "
    "prompt, or ask the operator of this server to raise the limit."
)
HELD = "Requests that are running may use up what is left of this API key's spending limit; ask again when they ended."


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits and prices of one request. Changes that are made while it runs do not affect it."""

    limits: LimitConfig
    prices: PriceConfig
    spending_limit_nano: int | None = None


@dataclass(frozen=True, slots=True)
class Amount:
    """What a prompt and its answers take, or the most that they can take."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
    nano: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was taken for a prompt before it ran, by the clock of this server and, if others know of it, of all."""

    taken_s: float
    amount: Amount
    shared_s: float | None = None


@dataclass(slots=True)
class Held:
    """What the running requests of one key take at one server."""

    num_running: int = 0
    reserved_nano: int = 0  # what they may cost at most, and costs that are not written yet


class Meters(Protocol):
    """What bills need of them."""

    async def enter(self, key_id: str, terms: Terms) -> None:
        """Count a request that begins. Raises SpendingLimitReached, TooManyRequests or Overloaded."""

    def leave(self, key_id: str) -> None:
        """A request that was counted has ended."""

    async def reserve(self, key_id: str, terms: Terms, amount: Amount) -> Reservation:
        """Take the most that a prompt can take. Raises what `enter` raises, and InvalidRequest for what never fits."""

    def settle(self, key_id: str, reservations: Sequence[Reservation], used: Amount) -> None:
        """Give back what was reserved and not used."""

    def written(self, spent_nano: Mapping[str, int]) -> None:
        """Costs, by key id, are in the database from now on."""

    def standing(self, key_id: str, limits: LimitConfig) -> Standing: ...


class LocalMeters:
    """`clock`: monotonic seconds. `spent_nano`: what the key with this id has spent until now."""

    def __init__(self, clock: Callable[[], float], spent_nano: Callable[[str], int]) -> None:
        self._clock = clock
        self._spent_nano = spent_nano
        self._meters: defaultdict[str, Meter] = defaultdict(Meter)  # by key id

    async def enter(self, key_id: str, terms: Terms) -> None:
        meter, now_s = self._meters[key_id], self._clock()
        check_can_start(meter, terms, self._spent_nano(key_id), now_s)
        self.begin(key_id)

    def begin(self, key_id: str) -> None:
        """Count a request without a check."""
        meter = self._meters[key_id]
        meter.requests.take(1, self._clock())
        meter.num_running += 1

    def leave(self, key_id: str) -> None:
        self._meters[key_id].num_running -= 1

    async def reserve(self, key_id: str, terms: Terms, amount: Amount) -> Reservation:
        meter, now_s = self._meters[key_id], self._clock()
        check_can_take(meter, terms, self._spent_nano(key_id), amount, now_s)
        return self.take(key_id, amount)

    def take(self, key_id: str, amount: Amount) -> Reservation:
        """Take it without a check."""
        meter, now_s = self._meters[key_id], self._clock()
        meter.prompt_tokens.take(amount.prompt_tokens, now_s)
        meter.generated_tokens.take(amount.generated_tokens, now_s)
        meter.reserved_nano += amount.nano
        return Reservation(now_s, amount)

    def settle(self, key_id: str, reservations: Sequence[Reservation], used: Amount) -> None:
        meter = self._meters[key_id]
        for unused in unused_of(reservations, used):
            meter.prompt_tokens.give_back(unused.amount.prompt_tokens, unused.taken_s)
            meter.generated_tokens.give_back(unused.amount.generated_tokens, unused.taken_s)
        meter.reserved_nano -= sum(reserved.amount.nano for reserved in reservations)

    def written(self, spent_nano: Mapping[str, int]) -> None:
        """`spent_nano` of this server's own books knows them already."""

    def standing(self, key_id: str, limits: LimitConfig) -> Standing:
        meter = self._meters.get(key_id) or Meter()  # asking leaves nothing behind
        return standing(meter, limits, self._clock())


def unused_of(reservations: Sequence[Reservation], used: Amount) -> list[Reservation]:
    """What of each reservation was not used: no more than was taken at that time, and all of them together."""
    prompt_tokens = sum(reserved.amount.prompt_tokens for reserved in reservations) - used.prompt_tokens
    generated_tokens = sum(reserved.amount.generated_tokens for reserved in reservations) - used.generated_tokens
    unused = []
    for reserved in reservations:
        amount = Amount(
            max(0, min(prompt_tokens, reserved.amount.prompt_tokens)),
            max(0, min(generated_tokens, reserved.amount.generated_tokens)),
        )
        prompt_tokens -= amount.prompt_tokens
        generated_tokens -= amount.generated_tokens
        unused.append(replace(reserved, amount=amount))
    return unused


def check_can_start(meter: Meter, terms: Terms, spent_nano: int, now_s: float) -> None:
    """The checks that need no prompt, before anything is fetched. Raises SpendingLimitReached or TooManyRequests."""
    limits = terms.limits
    if terms.spending_limit_nano is not None and terms.spending_limit_nano <= spent_nano:
        raise SpendingLimitReached(SPENT)
    if limits.max_concurrent_requests and meter.num_running >= limits.max_concurrent_requests:
        raise TooManyRequests(
            f"The limit is {limits.max_concurrent_requests} requests at once. Ask again when one has ended.",
            wait_s=1,
        )
    _check_room(meter.requests, 1, limits.requests_per_minute, "requests", now_s)


def check_can_take(meter: Meter, terms: Terms, spent_nano: int, amount: Amount, now_s: float) -> None:
    """Raises SpendingLimitReached, TooManyRequests, or InvalidRequest for more than a whole minute's limit."""
    limits = terms.limits
    if terms.spending_limit_nano is not None:
        funds_nano = terms.spending_limit_nano - spent_nano
        if amount.nano > funds_nano:
            raise SpendingLimitReached(TOO_DEAR)
        if amount.nano > funds_nano - meter.reserved_nano:
            raise TooManyRequests(HELD, wait_s=1)
    prompt, generated = limits.prompt_tokens_per_minute, limits.generated_tokens_per_minute
    _check_room(meter.prompt_tokens, amount.prompt_tokens, prompt, "prompt tokens", now_s, param="prompt")
    _check_room(
        meter.generated_tokens, amount.generated_tokens, generated, "generated tokens", now_s, param="max_tokens"
    )


def _check_room(window: Window, amount: int, limit: int, what: str, now_s: float, param: str | None = None) -> None:
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
