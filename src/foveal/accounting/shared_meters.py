"""What keys take, measured against their limits by several servers together, in their database.

Each check is a transaction in a thread. What ends is told to the others soon after, together with what else has ended.
While the database is away, new requests are refused, or each server holds them to the limits alone.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.accounting.limits import Meter, Standing, standing
from foveal.accounting.meters import (
    Amount,
    Held,
    LocalMeters,
    Reservation,
    Terms,
    check_can_start,
    check_can_take,
    unused_of,
)
from foveal.accounting.teller import Teller
from foveal.config import LimitConfig
from foveal.errors import ConfigError, Overloaded

if TYPE_CHECKING:
    from foveal.accounting.database import Database
    from foveal.accounting.shared_tables import Check, SharedTables

BEAT_S = 1.0
PATIENCE_S = 3.0  # of a request that asks the database
AWAY = "The accounts of this server cannot be reached, so it cannot tell what this API key may take; ask again soon."
NOTHING = Amount()

log = logging.getLogger(__name__)


class SharedMeters:
    """Meters of the servers that share a database, which is for these meters only.

    `alone` meters what this server takes itself, for the time that the database is away. `goes_on`: then new requests
    are held to those limits, instead of being refused.
    """

    def __init__(self, database: Database, tables: SharedTables, alone: LocalMeters, goes_on: bool) -> None:
        """Raises ConfigError for a database that cannot be used."""
        self._database = database
        self._tables = tables
        self._alone = alone
        self._goes_on = goes_on
        self._teller = Teller("limits", database.interrupt, PATIENCE_S)
        self._is_away = False
        self._lock = threading.Lock()  # around what the thread and the event loop both change:
        self._held: defaultdict[str, Held] = defaultdict(Held)  # by key id
        self._changed: set[str] = set()  # ids of keys of which others do not know what is held
        self._unused: list[tuple[str, Reservation]] = []  # by key id: what others do not know either
        self._seen: dict[str, tuple[Meter, float]] = {}  # by key id, with the shared clock's time
        self._telling: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._is_closing = asyncio.Event()
        tables.beat({})  # so that others notice if this server dies

    def start(self) -> None:
        self._beating = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Nothing is held any more."""
        self._is_closing.set()
        if self._beating:
            await self._beating
        if self._telling:
            await self._telling
        try:
            await self._teller.do(self._tables.leave)
        except ConfigError as error:
            log.error("%s", error)
        self._teller.close()
        self._database.close()

    # --- what bills need ----------------------------------------------------------------------------------------------

    async def enter(self, key_id: str, terms: Terms) -> None:
        if self._is_away and self._goes_on:
            await self._alone.enter(key_id, terms)
            self._hold(key_id, Held(1))
            return

        def check(meter: Meter, spent_nano: int, now_s: float) -> None:
            check_can_start(meter, terms, spent_nano, now_s)

        await self._take(key_id, 1, NOTHING, check)
        self._alone.begin(key_id)

    def leave(self, key_id: str) -> None:
        self._alone.leave(key_id)
        self._hold(key_id, Held(-1))
        self._tell_soon()

    async def reserve(self, key_id: str, terms: Terms, amount: Amount) -> Reservation:
        if self._is_away and self._goes_on:
            reservation = await self._alone.reserve(key_id, terms, amount)
            self._hold(key_id, Held(0, amount.nano))
            return reservation

        def check(meter: Meter, spent_nano: int, now_s: float) -> None:
            check_can_take(meter, terms, spent_nano, amount, now_s)

        shared_s = await self._take(key_id, 0, amount, check)
        return replace(self._alone.take(key_id, amount), shared_s=shared_s)

    def settle(self, key_id: str, reservations: Sequence[Reservation], used: Amount) -> None:
        """What a request has cost stays reserved until it is `written`, so that it is never missing from both."""
        self._alone.settle(key_id, reservations, used)
        self._hold(key_id, Held(0, used.nano - sum(reserved.amount.nano for reserved in reservations)))
        with self._lock:
            self._unused += [(key_id, unused) for unused in unused_of(reservations, used)]
        self._tell_soon()

    def written(self, spent_nano: Mapping[str, int]) -> None:
        for key_id, nano in spent_nano.items():
            self._hold(key_id, Held(0, -nano))
        self._tell_soon()

    def standing(self, key_id: str, limits: LimitConfig) -> Standing:
        """As it was when the key last took something here."""
        if key_id not in self._seen:
            return self._alone.standing(key_id, limits)
        meter, now_s = self._seen[key_id]
        return standing(meter, limits, now_s)

    # --- what others are told -----------------------------------------------------------------------------------------

    def _hold(self, key_id: str, more: Held) -> None:
        with self._lock:
            held = self._held[key_id]
            held.num_running += more.num_running
            held.reserved_nano += more.reserved_nano
            self._changed.add(key_id)

    def _tell_soon(self) -> None:
        if not self._is_away and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self._changed and not self._is_away:
            try:
                await self._teller.do(self._publish)
            except ConfigError as error:
                self._note_away(error)

    async def _keep(self) -> None:
        while not self._is_closing.is_set():
            try:
                await self._teller.do(self._beat)
            except ConfigError as error:
                self._note_away(error)
            else:
                self._note_reached()
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._is_closing.wait()
            except TimeoutError:
                continue

    def _note_away(self, error: ConfigError) -> None:
        if not self._is_away:
            what = "each server holds to the limits alone" if self._goes_on else "new requests are refused"
            log.error("%s; until it can, %s", error, what)
        self._is_away = True

    def _note_reached(self) -> None:
        if self._is_away:
            log.warning("the accounts can be used again")
        self._is_away = False
        self._tell_soon()

    # --- in the thread ------------------------------------------------------------------------------------------------

    async def _take(self, key_id: str, requests: int, amount: Amount, check: Check) -> float:
        """The time at which it was taken, by the shared clock. Raises what `check` raises, and Overloaded.

        Where the caller is cancelled, the transaction goes on, and what it took is given back.
        """
        if self._is_away:
            raise Overloaded(AWAY)
        more = Held(requests, amount.nano)
        taking = asyncio.ensure_future(self._teller.do(lambda: self._take_now(key_id, more, amount, check)))
        try:
            return await asyncio.shield(taking)
        except ConfigError as error:
            self._note_away(error)
            raise Overloaded(AWAY) from None
        except asyncio.CancelledError:
            taking.add_done_callback(lambda _: self._give_back(key_id, more, amount, taking))
            raise

    def _take_now(self, key_id: str, more: Held, amount: Amount, check: Check) -> float:
        if self._is_away:  # it was noticed while this waited for its turn
            raise ConfigError(AWAY)
        with self._lock:
            before = replace(self._held[key_id])
        after = Held(before.num_running + more.num_running, before.reserved_nano + more.reserved_nano)
        meter, now_s = self._tables.take(key_id, more.num_running, amount, before, after, check)
        self._hold(key_id, more)
        self._seen[key_id] = (meter, now_s)
        return now_s

    def _give_back(self, key_id: str, more: Held, amount: Amount, taking: asyncio.Future[float]) -> None:
        if not taking.cancelled() and taking.exception() is None:
            self._hold(key_id, Held(-more.num_running, -more.reserved_nano))
            with self._lock:
                self._unused.append((key_id, Reservation(0.0, amount, taking.result())))
            self._tell_soon()

    def _publish(self) -> None:
        with self._told(everything=False) as (held, unused):
            self._tables.publish(held, unused)

    def _beat(self) -> None:
        with self._told(everything=True) as (held, unused):
            self._tables.beat(held)
            self._tables.publish({}, unused)

    @contextmanager
    def _told(self, everything: bool) -> Iterator[tuple[dict[str, Held], list[tuple[str, Reservation]]]]:
        """What is to be told to others. It is still to be told where that fails."""
        with self._lock:
            changed, self._changed = self._changed, set()
            unused, self._unused = self._unused, []
            ids = changed | {id for id, held in self._held.items() if everything and held != Held()}
            held = {id: replace(self._held[id]) for id in ids}
        try:
            yield held, unused
        except BaseException:
            with self._lock:
                self._changed |= changed
                self._unused = unused + self._unused
            raise
