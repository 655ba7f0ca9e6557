"""Keeps answers that clients want to find again, in memory or in the accounts' file. Knows them as bytes.

In memory by default, as they may hold images and nothing of an image gets onto a disk unless the operator says so
(docs/decisions/087-responses-are-kept-in-memory.md). Either way it is one table of SQLite, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, TypeVar

from foveal.errors import ConfigError, InvalidRequest, NotFound

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from foveal.config import AccountingConfig

SCHEMA = """
    CREATE TABLE IF NOT EXISTS kept_answer (
        id TEXT PRIMARY KEY, account TEXT NOT NULL, created_s REAL NOT NULL, previous_id TEXT,
        input BLOB NOT NULL, answer BLOB NOT NULL
    ) STRICT
"""
SIZE = "length(input) + length(answer)"
PRUNE_S = 600.0
DAY_S = 86_400
MAX_CHAIN = 1024

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer, and what it answers behind the one before it. The fields are the table's columns, in order."""

    id: str
    account: str  # whose clients may find it
    created_s: float  # Unix time
    previous_id: str | None
    input: bytes
    answer: bytes


COLUMNS = ", ".join(column.name for column in fields(KeptAnswer))


class KeptAnswers:
    """The kept answers of one server. `path`: the accounts' file; None: in memory."""

    def __init__(
        self, config: AccountingConfig, path: Path | None = None, now: Callable[[], float] = time.time
    ) -> None:
        """Nothing is opened before something is kept or looked for."""
        self.is_on = config.responses_days > 0
        self._config = config
        self._path = path
        self._now = now
        self._database: sqlite3.Connection | None = None  # for the thread only
        self._pruned_s = 0.0
        self._thread = ThreadPoolExecutor(1, "kept-answers")

    async def keep(self, answer: KeptAnswer) -> None:
        """Where it cannot be written, it is lost and the log says so: its client has it anyway."""
        try:
            await self._run(lambda: self._keep(answer))
        except ConfigError as error:
            log.error("a response could not be kept: %s", error)

    async def find(self, account: str, id: str) -> KeptAnswer:
        """Raises NotFound."""
        return (await self.chain(account, id, max_length=1))[-1]

    async def chain(
        self, account: str, id: str, max_bytes: int | None = None, max_length: int = MAX_CHAIN
    ) -> Sequence[KeptAnswer]:
        """The answer and those before it, the oldest first.

        Raises NotFound where one of them is gone, and InvalidRequest where they have more than `max_bytes` together.
        """
        return await self._run(lambda: self._chain(account, id, max_bytes, max_length))

    async def newest(self, account: str, limit: int, after: str | None = None) -> Sequence[KeptAnswer]:
        """An account's answers, the newest first, behind the one called `after`."""
        return await self._run(lambda: self._newest(account, limit, after))

    async def delete(self, account: str, id: str) -> None:
        """Raises NotFound."""
        await self._run(lambda: self._delete(account, id))

    async def close(self) -> None:
        if self._database is not None:
            await self._run(lambda: self._open().close())
        self._thread.shutdown()

    # --- in the thread ------------------------------------------------------------------------------------------------

    async def _run(self, work: Callable[[], T]) -> T:
        """Raises ConfigError for a file that cannot be used, and what the work raises."""

        def telling_work() -> T:
            from foveal.accounting.sqlite_file import telling

            with telling(self._path):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, telling_work)

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            from foveal.accounting.sqlite_file import connect

            self._database = connect(self._path)
            self._database.execute("PRAGMA secure_delete = ON")
            self._database.execute(SCHEMA)
        return self._database

    def _keep(self, answer: KeptAnswer) -> None:
        database, num_bytes = self._open(), len(answer.input) + len(answer.answer)
        if num_bytes > self._config.responses_bytes:
            log.warning("a response of %d bytes is over accounting.responses_bytes and was not kept", num_bytes)
            return
        self._prune(database)
        marks = ", ".join("?" for _ in fields(KeptAnswer))
        database.execute(f"INSERT INTO kept_answer ({COLUMNS}) VALUES ({marks})", astuple(answer))
        while self._total(database) > self._config.responses_bytes:
            self._make_room(database)

    def _total(self, database: sqlite3.Connection) -> int:
        return int(database.execute(f"SELECT coalesce(sum({SIZE}), 0) FROM kept_answer").fetchone()[0])

    def _make_room(self, database: sqlite3.Connection) -> None:
        """Forget the oldest answer of the account that has the most."""
        database.execute(
            f"""
            DELETE FROM kept_answer WHERE rowid = (
                SELECT rowid FROM kept_answer WHERE account = (
                    SELECT account FROM kept_answer GROUP BY account ORDER BY sum({SIZE}) DESC LIMIT 1
                ) ORDER BY rowid LIMIT 1
            )
            """
        )

    def _prune(self, database: sqlite3.Connection) -> None:
        now_s = self._now()
        if now_s - self._pruned_s >= PRUNE_S:
            self._pruned_s = now_s
            oldest_s = now_s - self._config.responses_days * DAY_S
            database.execute("DELETE FROM kept_answer WHERE created_s < ?", (oldest_s,))

    def _chain(self, account: str, id: str, max_bytes: int | None, max_length: int) -> list[KeptAnswer]:
        database, num_bytes = self._open(), 0
        found: list[KeptAnswer] = []
        self._prune(database)
        wanted: str | None = id
        while wanted is not None and len(found) < max_length:
            row = database.execute(
                f"SELECT {COLUMNS} FROM kept_answer WHERE id = ? AND account = ?", (wanted, account)
            ).fetchone()
            if row is None:
                raise NotFound(f"There is no response {wanted!r}, or no longer.")
            found.append(KeptAnswer(*row))
            num_bytes += len(found[-1].input) + len(found[-1].answer)
            if max_bytes is not None and num_bytes > max_bytes:
                raise InvalidRequest(
                    f"The conversation has more than {max_bytes} bytes: begin another one, or send images as URLs.",
                    param="previous_response_id",
                )
            wanted = found[-1].previous_id
        return found[::-1]

    def _newest(self, account: str, limit: int, after: str | None) -> list[KeptAnswer]:
        database = self._open()
        self._prune(database)
        below = "" if after is None else "AND rowid < (SELECT rowid FROM kept_answer WHERE id = ? AND account = ?)"
        rows = database.execute(
            f"SELECT {COLUMNS} FROM kept_answer WHERE account = ? {below} ORDER BY rowid DESC LIMIT ?",
            (account, *([] if after is None else [after, account]), limit),
        )
        return [KeptAnswer(*row) for row in rows]

    def _delete(self, account: str, id: str) -> None:
        deleted = self._open().execute("DELETE FROM kept_answer WHERE id = ? AND account = ?", (id, account))
        if not deleted.rowcount:
            raise NotFound(f"There is no response {id!r}, or no longer.")
