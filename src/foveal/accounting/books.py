"""Writes rows and costs to the database, and reads changed keys from it, off the event loop.

Both happen once a second, in one thread. So a kill loses the rows of one second at most, and changes by the command
line take effect within two seconds. What could not be written is written later, and once: it keeps its batch's number.
A file may be created while the server runs. Nothing here decides on access.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.accounting.teller import Teller
from foveal.config import AccountingConfig
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from foveal.accounting.database import Database
    from foveal.accounting.keys import Key
    from foveal.accounting.ledger import Entry

INTERVAL_S = 1.0
PRUNE_S = 3600.0
MAX_UNWRITTEN = 100_000  # rows that are kept while the file cannot be written; more are dropped, and that is logged
NUM_LAST_TRIES = 3
DAY_S = 86_400

log = logging.getLogger(__name__)

OnKeys = Callable[[Sequence["Key"]], None]
OnWritten = Callable[[Mapping[str, int]], None]


@dataclass(slots=True)
class Page:
    """Rows, and costs by key id, that are written together under one number."""

    number: int
    entries: list[Entry]
    spent_nano: Counter[str]


class Books:
    """The server's side of a file, or of the database at a postgresql:// URL.

    `on_keys` is called with all keys whenever one has changed, `on_written` with costs, by key id, that were written.
    """

    def __init__(
        self,
        place: Path | str,
        config: AccountingConfig,
        on_keys: OnKeys,
        on_written: OnWritten = lambda spent_nano: None,
        server_id: str | None = None,
    ) -> None:
        """Opens the database if it is there, or if there is to be a ledger. Raises ConfigError."""
        self.num_lost = 0  # rows that were dropped
        self._place = place
        self._server_id = server_id or secrets.token_hex(8)
        self._config = config
        self._on_keys = on_keys
        self._on_written = on_written
        self._database: Database | None = None  # once it is open, for the thread only
        self._version = -1
        self._pruned_s = -PRUNE_S
        self._entries: list[Entry] = []
        self._unwritten_nano: Counter[str] = Counter()  # by key id: spent
        self._page: Page | None = None  # what is to be written next
        self._num_pages = 0
        self._unseen_nano: Counter[str] = Counter()  # written, or about to be, and not yet in the keys that were read
        self._is_closing = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._teller = Teller("accounting", self._interrupt)
        if config.ledger or _is_there(place):
            _check_not_empty(place)
            self._open()
            on_keys(self._changed_keys() or [])

    @property
    def keeps_ledger(self) -> bool:
        return self._database is not None and self._config.ledger is not False

    def unseen_nano(self, key_id: str) -> int:
        """What a key has spent since the keys that `on_keys` was last called with."""
        return self._unwritten_nano[key_id] + self._unseen_nano[key_id]

    def record(self, entry: Entry) -> None:
        self._unwritten_nano[entry.key_id] += entry.cost_nano
        if self.keeps_ledger:
            self._entries.append(entry)

    def start(self) -> None:
        self._keeping = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Write what is not yet written."""
        self._is_closing.set()
        await (self._keeping or self._keep())
        self._teller.close()
        if self._database is not None:
            self._database.close()

    async def _keep(self) -> None:
        while not self._is_closing.is_set():
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._is_closing.wait()
            except TimeoutError:
                await self._sync()
        for _ in range(NUM_LAST_TRIES):
            if await self._sync():
                return
        num_unwritten = len(self._entries) + (len(self._page.entries) if self._page else 0)
        log.error("%d rows of the ledger could not be written and are lost", num_unwritten)

    async def _sync(self) -> bool:
        """Write what was recorded, then read changed keys. Returns whether all was written; what was not is kept."""
        page = self._page or self._next_page()
        try:
            await self._teller.do(lambda: self._write(page))
        except ConfigError as error:
            log.error("%s", error)
            self._page = page
            self._forget_oldest(page)
            return False
        self._page = None
        self._on_written(page.spent_nano)
        try:
            keys = await self._teller.do(self._changed_keys)
        except ConfigError as error:  # it is read again the next time
            log.error("%s", error)
            return not self._entries
        if keys is not None:
            self._unseen_nano.clear()
            self._on_keys(keys)
        return not self._entries

    def _next_page(self) -> Page:
        self._num_pages += 1
        page = Page(self._num_pages, self._entries, self._unwritten_nano)
        self._entries, self._unwritten_nano = [], Counter()
        self._unseen_nano += page.spent_nano
        return page

    def _forget_oldest(self, page: Page) -> None:
        """Keep no more rows than there is memory for. Costs are all kept: they are a number for each key."""
        num_over = len(page.entries) + len(self._entries) - MAX_UNWRITTEN
        if num_over > 0:
            log.error("%d rows of the ledger are given up", num_over)
            self.num_lost += num_over
            from_page = min(num_over, len(page.entries))
            del page.entries[:from_page], self._entries[: num_over - from_page]

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _write(self, page: Page) -> None:
        """All or nothing. Raises ConfigError."""
        if self._database is None and _is_there(self._place):
            self._open()
        if self._database is not None:
            self._prune()
            if page.entries or page.spent_nano:
                self._database.record(page.entries, page.spent_nano, (self._server_id, page.number))

    def _open(self) -> None:
        from foveal.accounting.database import Database

        self._database = Database(self._place)

    def _interrupt(self) -> None:
        if self._database is not None:
            self._database.interrupt()

    def _changed_keys(self) -> list[Key] | None:
        """All keys; None if none has changed. Raises ConfigError."""
        if self._database is None:
            return None
        version = self._database.version
        if version == self._version:
            return None
        keys = self._database.all_keys()
        self._version = version
        return keys

    def _prune(self) -> None:
        assert self._database is not None
        if self._config.retention_days and time.monotonic() - self._pruned_s >= PRUNE_S:
            self._pruned_s = time.monotonic()
            self._database.forget(time.time() - self._config.retention_days * DAY_S)


def _check_not_empty(place: Path | str) -> None:
    """Raises ConfigError for a file without a byte: its keys are lost, and a server must not run without them."""
    if isinstance(place, Path) and _is_there(place) and place.stat().st_size == 0:
        raise ConfigError(
            f"the accounts at {place} are an empty file, so all keys in it are lost: restore it from a copy, or remove "
            "it to run without accounts"
        )


def _is_there(place: Path | str) -> bool:
    """A database that was named has to be there; a file may not.

    Raises ConfigError where that cannot be told: a server that cannot read its keys must not run without them.
    """
    if isinstance(place, str):
        return True
    try:
        return place.exists()
    except OSError as error:
        raise ConfigError(
            f"it cannot be seen whether there are accounts at {place}: {error.strerror}; set accounting.path "
            "(FOVEAL_ACCOUNTING_PATH)"
        ) from None
