"""Writes rows and costs to the database, and reads changed keys from it, off the event loop.

Both happen once a second, in one thread. So a kill loses the rows of one second at most, and changes by the command
line take effect within two seconds. The file may be created while the server runs. Nothing here decides on access.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

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


class Books:
    """The server's side of the file at `path`. `on_keys` is called with all keys whenever one has changed."""

    def __init__(self, path: Path, config: AccountingConfig, on_keys: OnKeys) -> None:
        """Opens the file if it is there, or if there is to be a ledger. Raises ConfigError."""
        self.num_lost = 0  # rows that were dropped
        self._path = path
        self._config = config
        self._on_keys = on_keys
        self._database: Database | None = None  # once it is open, for the thread only
        self._version = -1
        self._pruned_s = -PRUNE_S
        self._entries: list[Entry] = []
        self._unwritten_nano: Counter[str] = Counter()  # by key id: spent
        self._unseen_nano: Counter[str] = Counter()  # written, or about to be, and not yet in the keys that were read
        self._is_closing = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "accounting")
        if config.ledger or _is_there(path):
            _check_not_empty(path)
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
        self._thread.shutdown()
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
        log.error("%d rows of the ledger could not be written and are lost", len(self._entries))

    async def _sync(self) -> bool:
        """Write what was recorded, then read changed keys. Returns whether all was written; what was not is kept."""
        entries, self._entries = self._entries, []
        spent_nano, self._unwritten_nano = self._unwritten_nano, Counter()
        self._unseen_nano += spent_nano
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._write, entries, spent_nano)
        except ConfigError as error:
            log.error("%s", error)
            self._take_back(entries, spent_nano)
            return False
        try:
            keys = await loop.run_in_executor(self._thread, self._changed_keys)
        except ConfigError as error:  # it is read again the next time
            log.error("%s", error)
            return True
        if keys is not None:
            self._unseen_nano.clear()
            self._on_keys(keys)
        return True

    def _take_back(self, entries: list[Entry], spent_nano: Counter[str]) -> None:
        self._unwritten_nano += spent_nano
        self._unseen_nano -= spent_nano
        entries += self._entries
        if len(entries) > MAX_UNWRITTEN:
            log.error("%d rows of the ledger are given up", len(entries) - MAX_UNWRITTEN)
            self.num_lost += len(entries) - MAX_UNWRITTEN
        self._entries = entries[-MAX_UNWRITTEN:]

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _write(self, entries: Sequence[Entry], spent_nano: Counter[str]) -> None:
        """All or nothing. Raises ConfigError."""
        if self._database is None and _is_there(self._path):
            self._open()
        if self._database is not None:
            self._prune()
            if entries or spent_nano:
                self._database.record(entries, spent_nano)

    def _open(self) -> None:
        from foveal.accounting.database import Database

        self._database = Database(self._path)

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


def _check_not_empty(path: Path) -> None:
    """Raises ConfigError for a file without a byte: its keys are lost, and a server must not run without them."""
    if _is_there(path) and path.stat().st_size == 0:
        raise ConfigError(
            f"the accounts at {path} are an empty file, so all keys in it are lost: restore it from a copy, or remove "
            "it to run without accounts"
        )


def _is_there(path: Path) -> bool:
    """Raises ConfigError where that cannot be told: a server that cannot read its keys must not run without them."""
    try:
        return path.exists()
    except OSError as error:
        raise ConfigError(
            f"it cannot be seen whether there are accounts at {path}: {error.strerror}; set accounting.path "
            "(FOVEAL_ACCOUNTING_PATH)"
        ) from None
