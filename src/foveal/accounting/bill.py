"""One request's bill: the most that it can take is reserved before it runs, and corrected at the end.

So concurrent requests cannot exceed a limit together that each would respect alone. Settling never awaits, so that no
cancellation prevents it.
"""

from __future__ import annotations

from contextlib import ExitStack

from foveal.accounting.meters import Amount, Meters, Reservation, Terms
from foveal.accounting.prices import cost_nano, most_nano
from foveal.types import Caller, Outcome, Status, Usage

WORST_FIRST: tuple[Status, ...] = ("failed", "aborted", "finished")


class Bill:
    """The bill of one HTTP request, which may have several prompts."""

    def __init__(self, caller: Caller, model: str, meters: Meters, terms: Terms) -> None:
        self.caller = caller
        self.model = model
        self.num_parts = 0  # prompts that have not ended
        self.outcomes: list[Outcome] = []
        self.visit = ExitStack()  # what ends with the bill
        self._meters = meters
        self._terms = terms
        self._reservations: list[Reservation] = []

    async def reserve(self, prompt_tokens: int, generated_tokens: int) -> None:
        """Reserve the most that a prompt and its answers can take.

        Raises SpendingLimitReached, TooManyRequests, or InvalidRequest for more than a whole minute's limit.
        """
        most = Amount(prompt_tokens, generated_tokens, most_nano(self._terms.prices, prompt_tokens, generated_tokens))
        self._reservations.append(await self._meters.reserve(self.caller.key_id, self._terms, most))

    def count(self, outcome: Outcome) -> None:
        """Record the outcome of a prompt that was reserved for."""
        self.outcomes.append(outcome)

    def settle(self) -> None:
        """Release what was reserved and not taken."""
        used = Amount(self.usage.prompt_tokens, self.usage.completion_tokens, self.cost_nano)
        self._meters.settle(self.caller.key_id, self._reservations, used)

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
