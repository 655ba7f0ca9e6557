"""Admits requests, and settles what they took.

Runs on the event loop. Rows that have to be written go to `Books`. Limits are asked of meters, which wait only where
several servers share them. A request is admitted, reserves the most that it can take, and is always settled, however it
ends: nothing waits then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from foveal.accounting.bill import Bill
from foveal.accounting.books import Books
from foveal.accounting.keys import Key, KeyRing, configured_keys
from foveal.accounting.ledger import Entry
from foveal.accounting.limits import Standing
from foveal.accounting.meters import LocalMeters, Terms
from foveal.accounting.prices import has_prices
from foveal.accounting.shared_meters import SharedMeters
from foveal.accounting.totals import Totals
from foveal.config import LimitConfig, PriceConfig
from foveal.types import Caller

log = logging.getLogger(__name__)

OpenBooks = Callable[[Callable[[Sequence[Key]], None], Callable[[Mapping[str, int]], None]], Books]
OpenShared = Callable[[LocalMeters], SharedMeters]


class Accounting:
    """Accounting for all served models.

    `prices` are those of a model that has none of its own. `open_books` gets the functions to call with changed keys,
    and with costs that are written. Without it nothing is stored, and only the configuration has keys. `open_shared`
    makes meters that several servers share from those of this one. `clock`: monotonic seconds, for limits; `now`: Unix
    time, for dates.
    """

    def __init__(
        self,
        limits: LimitConfig | None = None,
        prices: PriceConfig | None = None,
        api_keys: Sequence[str] = (),
        open_books: OpenBooks | None = None,
        open_shared: OpenShared | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Raises ConfigError for keys or a database that cannot be used."""
        self.totals = Totals()
        self._limits = limits or LimitConfig()
        self._prices = prices or PriceConfig()
        self._now = now
        self._ring = KeyRing(configured_keys(api_keys), now)
        self._open: dict[str, Bill] = {}  # by request id
        self._visiting: set[str] = set()  # request ids
        alone = LocalMeters(clock, self._spent_nano)
        self._shared = open_shared(alone) if open_shared else None
        self._meters = self._shared or alone
        self._books = open_books(self._take_in, self._meters.written) if open_books else None

    def _take_in(self, keys: Sequence[Key]) -> None:
        self._ring.update(keys)
        if not has_prices(self._prices) and any(key.spending_limit_nano is not None for key in keys):
            log.warning("keys have spending limits, which have no effect until [prices] are configured")

    def start(self) -> None:
        if self._books:
            self._books.start()
        if self._shared:
            self._shared.start()

    async def close(self) -> None:
        """Write what is not yet written. All bills should be settled by now."""
        if self._books:
            await self._books.close()
        if self._shared:
            await self._shared.close()

    # --- who ----------------------------------------------------------------------------------------------------------

    @property
    def requires_key(self) -> bool:
        return self._ring.requires_key

    def identify(self, secret: bytes) -> Key | None:
        """The key with this secret, if it is valid now."""
        return self._ring.find(secret)

    def standing(self, key_id: str) -> Standing:
        """The current state of a key's limits."""
        return self._meters.standing(key_id, self._limits_of(self._ring.get(key_id)))

    # --- how much -----------------------------------------------------------------------------------------------------

    @property
    def num_visiting(self) -> int:
        """Requests between their heads and their ends."""
        return len(self._visiting)

    @asynccontextmanager
    async def visit(self, caller: Caller) -> AsyncIterator[None]:
        """A request from its head to its end: it counts whatever it turns out to hold, refusals included.

        Raises SpendingLimitReached, TooManyRequests or, while limits that are shared cannot be asked, Overloaded.
        """
        await self._meters.enter(caller.key_id, self._terms(caller.key_id, self._prices))
        if caller.request_id:
            self._visiting.add(caller.request_id)
        try:
            yield
        finally:
            self._visiting.discard(caller.request_id)
            self._meters.leave(caller.key_id)

    @asynccontextmanager
    async def admit(self, caller: Caller, model: str, prices: PriceConfig | None = None) -> AsyncIterator[Bill]:
        """The request's bill, settled when the last context that yielded it ends.

        All prompts of one request, which are for one model, share one bill. A request that is no visitor (`visit`) yet
        is counted as one while the bill is open. Raises what `visit` raises on entering.
        """
        bill = self._open.get(caller.request_id) or await self._start(caller, model, prices or self._prices)
        bill.num_parts += 1
        try:
            yield bill
        finally:
            bill.num_parts -= 1
            if bill.num_parts == 0:
                self._settle(bill)
                bill.visit.close()

    async def _start(self, caller: Caller, model: str, prices: PriceConfig) -> Bill:
        terms = self._terms(caller.key_id, prices)
        bill = Bill(caller, model, self._meters, terms)
        if caller.request_id not in self._visiting:
            await self._meters.enter(caller.key_id, terms)
            bill.visit.callback(self._meters.leave, caller.key_id)
        if caller.request_id:
            self._open[caller.request_id] = bill
        return bill

    def _settle(self, bill: Bill) -> None:
        self._open.pop(bill.caller.request_id, None)
        bill.settle()
        for outcome in bill.outcomes:
            self.totals.add(outcome)
        if self._books and bill.outcomes:
            self._books.record(self._entry(bill))

    def _entry(self, bill: Bill) -> Entry:
        key, usage, outcomes = self._ring.get(bill.caller.key_id), bill.usage, bill.outcomes
        return Entry(
            request_id=bill.caller.request_id,
            ended_s=self._now(),
            key_id=bill.caller.key_id,
            key_name=key.name if key else "",
            account=bill.caller.account,
            model=bill.model,
            status=bill.status,
            prompt_tokens=usage.prompt_tokens,
            image_tokens=usage.image_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            cost_nano=bill.cost_nano,
            currency=bill.currency,
            duration_s=max(outcome.total_s for outcome in outcomes),
            first_token_s=min((o.first_token_s for o in outcomes if o.first_token_s is not None), default=None),
        )

    def _terms(self, key_id: str, prices: PriceConfig) -> Terms:
        key = self._ring.get(key_id)
        return Terms(self._limits_of(key), prices, key.spending_limit_nano if key else None)

    def _limits_of(self, key: Key | None) -> LimitConfig:
        return key.limits.over(self._limits) if key else self._limits

    def _spent_nano(self, key_id: str) -> int:
        key = self._ring.get(key_id)
        unseen_nano = self._books.unseen_nano(key_id) if self._books else 0
        return (key.spent_nano if key else 0) + unseen_nano
