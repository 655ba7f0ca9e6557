"""Keys and the ledger in a database, which servers and the command line share. Knows nothing of requests.

An SQLite file or PostgreSQL, by SQLAlchemy: docs/decisions/102-accounts-by-sqlalchemy.md says what was weighed.
Every method is one transaction. Errors of the database are ConfigErrors, since an operator has to correct them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, RowMapping, bindparam, cast, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from foveal.accounting import schema
from foveal.accounting.backends import READS, Connections, day, now_s, open_engine
from foveal.accounting.keys import Key
from foveal.accounting.ledger import Entry, Grouping, UsageRow
from foveal.accounting.limits import Limits
from foveal.accounting.migrating import bring_up_to_date
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.sql.elements import ColumnElement

LIMIT_COLUMNS = tuple(limit.name for limit in fields(Limits))


Batch = tuple[str, int]  # a server's id, and a number that grows


class Database:
    """One connection, for one thread at a time."""

    def __init__(self, where: Path | str) -> None:
        """Opens a file, made where it is missing and for its owner only, or a postgresql:// URL. Raises ConfigError."""
        self._engine = open_engine(where)
        self._connections = Connections(self._engine)
        self.shown = str(where) if isinstance(where, Path) else self._engine.url.render_as_string(hide_password=True)
        with self._telling():
            bring_up_to_date(self._engine, self.shown)

    def close(self) -> None:
        self._engine.dispose()

    def interrupt(self) -> None:
        """Make a method that waits for PostgreSQL in another thread fail. SQLite's do not wait for long."""
        self._connections.interrupt()

    # --- keys ---------------------------------------------------------------------------------------------------------

    def all_keys(self) -> list[Key]:
        """All keys, revoked ones too, by time of creation."""
        query = select(schema.key).order_by(schema.key.c.created_s, schema.key.c.name)
        with self._reading() as connection:
            return [_key(row) for row in connection.execute(query).mappings()]

    def key(self, name: str) -> Key:
        """Raises ConfigError where there is none."""
        for key in self.all_keys():
            if key.name == name:
                return key
        raise ConfigError(f"there is no key {name!r}; foveal keys list shows those that there are")

    def add(self, key: Key) -> None:
        """Raises ConfigError where the name is taken, by a revoked key too: the ledger names keys."""
        with self.writing() as connection:
            _note_change(connection)  # others that add keys wait from here on
            if connection.execute(select(schema.key.c.id).where(schema.key.c.name == key.name)).first():
                raise ConfigError(f"there is a key {key.name!r} already; choose another name")
            connection.execute(insert(schema.key).values(_columns(key)))

    def change(self, key: Key) -> None:
        """Replace the key with this id, except what it has spent, which servers add to."""
        changes = {name: value for name, value in _columns(key).items() if name not in ("id", "spent_nano")}
        with self.writing() as connection:
            _note_change(connection)
            connection.execute(update(schema.key).where(schema.key.c.id == key.id).values(changes))

    @property
    def version(self) -> int:
        """Grows when a key changes or spends."""
        with self._reading() as connection:
            return int(connection.execute(select(schema.change.c.number)).scalar_one())

    # --- the ledger ---------------------------------------------------------------------------------------------------

    def record(self, entries: Sequence[Entry], spent_nano: Mapping[str, int], batch: Batch | None = None) -> None:
        """Add rows to the ledger, and costs to keys (by id), in one transaction.

        With a batch's number it is done once, even if it is asked for again, as after a connection broke meanwhile.
        """
        spends = update(schema.key).where(schema.key.c.id == bindparam("key_id"))
        spends = spends.values(spent_nano=schema.key.c.spent_nano + bindparam("nano"))
        with self.writing() as connection:
            if batch and not _is_new(connection, batch):
                return
            if entries:
                connection.execute(insert(schema.ledger), [asdict(entry) for entry in entries])
            if spent_nano:
                _note_change(connection)
                connection.execute(spends, [{"key_id": id, "nano": nano} for id, nano in sorted(spent_nano.items())])

    def forget(self, before_s: float) -> None:
        """Delete the rows of answers that ended before this Unix time."""
        with self.writing() as connection:
            connection.execute(delete(schema.ledger).where(schema.ledger.c.ended_s < before_s))

    def usage(self, by: Grouping, since_s: float = 0.0) -> list[UsageRow]:
        """The ledger's rows since a Unix time, summed up by group and currency, ordered by both."""
        ledger = schema.ledger.c

        def total(column: ColumnElement[int]) -> ColumnElement[int]:
            return cast(func.sum(column), schema.WHOLE)

        with self._reading() as connection:
            groups: Mapping[Grouping, ColumnElement[str]] = {
                "day": day(connection, ledger.ended_s),
                "key": ledger.key_name,
                "model": ledger.model,
            }
            query = (
                select(
                    groups[by].label("group"),
                    ledger.currency,
                    func.count(),
                    func.count().filter(ledger.status == "failed"),
                    func.count().filter(ledger.status == "aborted"),
                    total(ledger.prompt_tokens),
                    total(ledger.image_tokens),
                    total(ledger.cached_tokens),
                    total(ledger.completion_tokens),
                    total(ledger.cost_nano),
                    func.avg(ledger.first_token_s),
                )
                .where(ledger.ended_s >= since_s)
                .group_by("group", ledger.currency)
                .order_by("group", ledger.currency)
            )
            return [UsageRow(*row) for row in connection.execute(query)]

    # --- one transaction ----------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        reading = self._engine.execution_options(**{READS: True})
        with self._telling(), reading.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; with SQLite, no other one writes meanwhile."""
        with self._telling(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Errors of the database as ConfigErrors."""
        try:
            yield
        except SQLAlchemyError as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise ConfigError(f"the accounts at {self.shown} cannot be used: {str(cause).strip()}") from None


def _is_new(connection: Connection, batch: Batch) -> bool:
    """Whether no batch with this number was written, of which a note is made."""
    server, (server_id, number) = schema.server, batch
    known = connection.execute(select(server.c.batch).where(server.c.id == server_id)).scalar()
    if known is None:
        row = {"id": server_id, "beat": 0, "batch": number, "seen_s": now_s(connection)}
        connection.execute(insert(server).values(row))
    elif known < number:
        connection.execute(update(server).where(server.c.id == server_id).values(batch=number))
    return known is None or known < number


def _note_change(connection: Connection) -> None:
    connection.execute(update(schema.change).values(number=schema.change.c.number + 1))


def _key(row: RowMapping) -> Key:
    columns = dict(row)
    limits = Limits(**{name: columns.pop(name) for name in LIMIT_COLUMNS})
    return replace(Key(**columns, limits=limits), is_operator=bool(row["is_operator"]))


def _columns(key: Key) -> dict[str, object]:
    own = {column.name: getattr(key, column.name) for column in fields(Key) if column.name != "limits"}
    return own | {name: getattr(key.limits, name) for name in LIMIT_COLUMNS} | {"is_operator": int(key.is_operator)}
