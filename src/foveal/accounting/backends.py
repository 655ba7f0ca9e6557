"""What differs between SQLite and PostgreSQL: how to connect, begin, lock, and tell the day and the time."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from socket import SHUT_RDWR, socket

from sqlalchemy import Connection, Engine, Insert, Table, create_engine, event, func, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.elements import ColumnElement

from foveal.accounting import sqlite_file
from foveal.errors import ConfigError

READS = "foveal_reads"  # of a connection whose transactions write nothing
POSTGRESQL = {
    "connect_timeout": 3,
    "application_name": "foveal",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c lock_timeout=4000 -c idle_in_transaction_session_timeout=10000",
}


def open_engine(where: Path | str) -> Engine:
    """One connection at most: to a file, which is made where it is missing, or to a postgresql:// URL.

    Raises ConfigError.
    """
    return _sqlite(where) if isinstance(where, Path) else _postgresql(where)


def _sqlite(path: Path) -> Engine:
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite_file.connect(path), poolclass=QueuePool, pool_size=1, max_overflow=0
    )
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    """Who is going to write waits for others at the start, since a transaction that only then has to may not."""
    reads = connection.get_execution_options().get(READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _postgresql(where: str) -> Engine:
    try:
        url = make_url(where)
    except ArgumentError:
        raise ConfigError(NO_URL) from None
    if url.drivername not in ("postgresql", "postgres"):
        raise ConfigError(NO_URL)
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"), connect_args=POSTGRESQL, pool_size=1, max_overflow=0
        )
    except ModuleNotFoundError:
        raise ConfigError(
            "accounting.url names a PostgreSQL database, which needs psycopg: pip install 'foveal[postgresql]'"
        ) from None


class Connections:
    """The connection that an engine has open."""

    def __init__(self, engine: Engine) -> None:
        self._latest: DBAPIConnection | None = None
        event.listen(engine, "connect", self._note)

    def _note(self, connection: DBAPIConnection, _: object) -> None:
        self._latest = connection

    def interrupt(self) -> None:
        """Shut the socket of a connection to PostgreSQL, which ends what waits for it in another thread."""
        if fileno := getattr(self._latest, "fileno", None):
            with suppress(Exception), socket(fileno=os.dup(fileno())) as connected:  # it may be closed by now
                connected.shutdown(SHUT_RDWR)


NO_URL = "accounting.url has to be as postgresql://user:password@host:5432/name"


def lock(connection: Connection, name: str) -> None:
    """Wait until no other transaction has this lock; the transaction's end frees it.

    SQLite's transactions that write run one at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def now_s(connection: Connection) -> float:
    """Unix time by the one clock that all servers of the database share."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return time.time()


def day(connection: Connection, moment_s: ColumnElement[float]) -> ColumnElement[str]:
    """The day of a Unix time in UTC, as 2027-01-31."""
    if connection.dialect.name == "postgresql":
        return func.to_char(func.timezone("UTC", func.to_timestamp(moment_s)), "YYYY-MM-DD")
    return func.date(moment_s, "unixepoch")


def insert_or_update(connection: Connection, table: Table, *, added: tuple[str, ...] = ()) -> Insert:
    """Inserts rows; where there is one with the same primary key, adds to the columns `added` and sets the others."""
    statement = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
    keys = list(table.primary_key.columns)
    others = [column for column in table.columns if column not in keys]
    changes = {
        column.name: table.c[column.name] + statement.excluded[column.name]
        if column.name in added
        else statement.excluded[column.name]
        for column in others
    }
    return statement.on_conflict_do_update(index_elements=keys, set_=changes)
