"""Keys and the ledger in one SQLite file, which servers and the command line share. Knows nothing of requests.

SQLite from the standard library: docs/decisions/060-accounts-in-sqlite.md says what was weighed. Every method is one
transaction. Errors of the file are ConfigErrors, since an operator has to correct them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import astuple, fields, replace
from pathlib import Path

from foveal.accounting.keys import Key
from foveal.accounting.ledger import ENTRY_COLUMNS, Entry, Grouping, UsageRow
from foveal.accounting.limits import Limits
from foveal.errors import ConfigError

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0  # to wait for the transactions of other connections
SCHEMA = """
    CREATE TABLE key (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, account TEXT NOT NULL,
        created_s REAL NOT NULL, expires_s REAL, revoked_s REAL,
        requests_per_minute INTEGER, prompt_tokens_per_minute INTEGER, generated_tokens_per_minute INTEGER,
        max_concurrent_requests INTEGER, spending_limit_nano INTEGER, spent_nano INTEGER NOT NULL,
        is_operator INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE ledger (
        request_id TEXT NOT NULL, ended_s REAL NOT NULL, key_id TEXT NOT NULL, key_name TEXT NOT NULL,
        account TEXT NOT NULL, model TEXT NOT NULL, status TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
        image_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
        cost_nano INTEGER NOT NULL, currency TEXT NOT NULL, duration_s REAL NOT NULL, first_token_s REAL
    ) STRICT;
    CREATE INDEX ledger_by_time ON ledger (ended_s);
"""
LIMIT_COLUMNS = tuple(limit.name for limit in fields(Limits))
GROUPS: Mapping[Grouping, str] = {"day": "date(ended_s, 'unixepoch')", "key": "key_name", "model": "model"}


class Database:
    """One connection, for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or creates it for its owner only. Raises ConfigError."""
        self.path = path
        self._connection = connect(path)
        with self._telling():
            self._connection.row_factory = sqlite3.Row
            self._create()

    def close(self) -> None:
        self._connection.close()

    # --- keys ---------------------------------------------------------------------------------------------------------

    def all_keys(self) -> list[Key]:
        """All keys, revoked ones too, by time of creation."""
        with self._telling():
            return [_key(row) for row in self._connection.execute("SELECT * FROM key ORDER BY created_s, name")]

    def key(self, name: str) -> Key:
        """Raises ConfigError where there is none."""
        for key in self.all_keys():
            if key.name == name:
                return key
        raise ConfigError(f"there is no key {name!r}; foveal keys list shows those that there are")

    def add(self, key: Key) -> None:
        """Raises ConfigError where the name is taken, by a revoked key too: the ledger names keys."""
        columns = _columns(key)
        with self._transaction():
            if self._connection.execute("SELECT 1 FROM key WHERE name = ?", (key.name,)).fetchone():
                raise ConfigError(f"there is a key {key.name!r} already; choose another name")
            marks = ", ".join(f":{column}" for column in columns)
            self._connection.execute(f"INSERT INTO key ({', '.join(columns)}) VALUES ({marks})", columns)

    def change(self, key: Key) -> None:
        """Replace the key with this id, except what it has spent, which servers add to."""
        columns = _columns(key)
        changes = ", ".join(f"{column} = :{column}" for column in columns if column not in ("id", "spent_nano"))
        with self._transaction():
            self._connection.execute(f"UPDATE key SET {changes} WHERE id = :id", columns)

    @property
    def version(self) -> int:
        """Changes when another connection has written."""
        with self._telling():
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    # --- the ledger ---------------------------------------------------------------------------------------------------

    def record(self, entries: Sequence[Entry], spent_nano: Mapping[str, int]) -> None:
        """Add rows to the ledger, and costs to keys (by id), in one transaction."""
        marks = ", ".join("?" for _ in ENTRY_COLUMNS)
        with self._transaction():
            self._connection.executemany(
                f"INSERT INTO ledger ({', '.join(ENTRY_COLUMNS)}) VALUES ({marks})",
                [astuple(entry) for entry in entries],
            )
            self._connection.executemany(
                "UPDATE key SET spent_nano = spent_nano + ? WHERE id = ?",
                [(nano, key_id) for key_id, nano in spent_nano.items()],
            )

    def forget(self, before_s: float) -> None:
        """Delete the rows of answers that ended before this Unix time."""
        with self._transaction():
            self._connection.execute("DELETE FROM ledger WHERE ended_s < ?", (before_s,))

    def usage(self, by: Grouping, since_s: float = 0.0) -> list[UsageRow]:
        """The ledger's rows since a Unix time, summed up by group and currency, ordered by both."""
        query = f"""
            SELECT {GROUPS[by]}, currency, count(*), sum(status = 'failed'), sum(status = 'aborted'),
                sum(prompt_tokens), sum(image_tokens), sum(cached_tokens), sum(completion_tokens), sum(cost_nano),
                avg(first_token_s)
            FROM ledger WHERE ended_s >= ? GROUP BY 1, 2 ORDER BY 1, 2
        """
        with self._telling():
            return [UsageRow(*row) for row in self._connection.execute(query, (since_s,))]

    # --- one transaction ----------------------------------------------------------------------------------------------

    def _create(self) -> None:
        with self._transaction():
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise ConfigError(f"{self.path} was written by a newer Foveal: update, or set another accounting.path")
            if version == 0:
                for statement in SCHEMA.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._telling():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _telling(self) -> AbstractContextManager[None]:
        return telling(self.path)


def connect(path: Path | None) -> sqlite3.Connection:
    """A connection to the file, which is created for its owner only; None: to one in memory. Raises ConfigError."""
    if path is not None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise ConfigError(
                f"the accounts cannot be kept at {path}: {error.strerror}; set accounting.path (FOVEAL_ACCOUNTING_PATH)"
            ) from None
    with telling(path):
        connection = sqlite3.connect(
            path or ":memory:", timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # survives the death of a process
        return connection


@contextmanager
def telling(path: Path | None) -> Iterator[None]:
    """Errors of the file as ConfigErrors."""
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError(f"the accounts at {path} cannot be used: {error}") from None


def _key(row: sqlite3.Row) -> Key:
    columns = dict(row)
    limits = Limits(**{name: columns.pop(name) for name in LIMIT_COLUMNS})
    return replace(Key(**columns, limits=limits), is_operator=bool(row["is_operator"]))


def _columns(key: Key) -> dict[str, object]:
    own = {column.name: getattr(key, column.name) for column in fields(Key) if column.name != "limits"}
    return own | {name: getattr(key.limits, name) for name in LIMIT_COLUMNS} | {"is_operator": int(key.is_operator)}
