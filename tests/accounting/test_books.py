"""What is written to the file of accounts and read from it while a server runs."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from foveal.accounting import books as books_module
from foveal.accounting.books import Books
from foveal.accounting.database import Database
from foveal.accounting.keys import Key
from foveal.config import AccountingConfig
from foveal.errors import ConfigError
from tests.accounting.builders import ENTRY, key, until

ON, AUTO, OFF = AccountingConfig(ledger=True), AccountingConfig(), AccountingConfig(ledger=False)


class Shelf:
    """Remembers the keys that it was told of."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    def __call__(self, keys: Sequence[Key]) -> None:
        self.keys = list(keys)

    @property
    def names(self) -> list[str]:
        return [key.name for key in self.keys]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounting.db"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books_module, "INTERVAL_S", 0.01)


@asynccontextmanager
async def running(path: Path, config: AccountingConfig, shelf: Shelf | None = None) -> AsyncIterator[Books]:
    books = Books(path, config, shelf or Shelf())
    books.start()
    try:
        yield books
    finally:
        await books.close()


def num_rows(path: Path) -> int:
    return sum(row.num_requests for row in Database(path).usage("day"))


@pytest.mark.parametrize(
    ("config", "is_there", "num_kept"),
    [(ON, False, 1), (ON, True, 1), (AUTO, True, 1), (AUTO, False, 0), (OFF, True, 0)],
)
def test_a_ledger_is_kept_where_it_is_asked_for_or_there_is_a_file(
    path: Path, config: AccountingConfig, is_there: bool, num_kept: int
) -> None:
    if is_there:
        Database(path).close()

    async def scene() -> None:
        async with running(path, config) as books:
            books.record(ENTRY)

    asyncio.run(scene())
    assert path.exists() == (is_there or config.ledger is True)
    assert (num_rows(path) if path.exists() else 0) == num_kept


def test_what_is_recorded_last_is_written_at_the_end(path: Path) -> None:
    async def scene() -> None:
        async with running(path, ON) as books:
            for number in range(1_000):
                books.record(replace(ENTRY, request_id=str(number)))

    asyncio.run(scene())
    assert num_rows(path) == 1_000


def test_books_that_were_never_started_can_be_closed(path: Path) -> None:
    async def scene() -> None:
        books = Books(path, ON, Shelf())
        books.record(ENTRY)
        await books.close()

    asyncio.run(scene())
    assert num_rows(path) == 1


def test_rows_are_there_for_others_while_the_server_runs(path: Path) -> None:
    async def scene() -> None:
        async with running(path, ON) as books:
            books.record(ENTRY)
            await until(lambda: num_rows(path) == 1)

    asyncio.run(scene())


def test_keys_that_others_make_change_and_revoke_are_told_of(path: Path) -> None:
    shelf = Shelf()

    async def scene() -> None:
        async with running(path, AUTO, shelf):
            database = Database(path)
            database.add(key("alice"))
            await until(lambda: shelf.names == ["alice"])
            database.add(key("bob", created_s=2_000.0))
            await until(lambda: shelf.names == ["alice", "bob"])
            database.change(replace(key("alice"), revoked_s=3.0))
            await until(lambda: shelf.keys[0].revoked_s == 3.0)

    asyncio.run(scene())


def test_what_a_key_spends_is_known_at_once_and_counted_once(path: Path) -> None:
    Database(path).add(key(ENTRY.key_id))
    shelf = Shelf()

    async def scene() -> None:
        books = Books(path, OFF, shelf)

        def spent() -> int:
            return shelf.keys[0].spent_nano + books.unseen_nano(ENTRY.key_id)

        books.record(ENTRY)
        assert spent() == 700
        books.start()
        for _ in range(20):
            await asyncio.sleep(0.005)
            assert spent() == 700
        books.record(ENTRY)
        assert spent() == 1_400
        await books.close()
        assert (spent(), books.unseen_nano(ENTRY.key_id)) == (1_400, 0)

    asyncio.run(scene())
    assert Database(path).key(ENTRY.key_id).spent_nano == 1_400


def test_what_cannot_be_written_is_kept_until_it_can(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("foveal.accounting.sqlite_file.BUSY_TIMEOUT_S", 0.01)

    async def scene() -> None:
        async with running(path, ON) as books:
            blocker = sqlite3.connect(path, isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            books.record(ENTRY)
            await until(lambda: "cannot be used" in caplog.text)
            assert books.unseen_nano(ENTRY.key_id) == 700
            books.record(ENTRY)
            blocker.execute("ROLLBACK")
            blocker.close()

    asyncio.run(scene())
    assert num_rows(path) == 2


def test_memory_for_what_cannot_be_written_is_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("foveal.accounting.sqlite_file.BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr(books_module, "MAX_UNWRITTEN", 10)

    async def scene() -> int:
        async with running(path, ON) as books:
            blocker = sqlite3.connect(path, isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            for _ in range(15):
                books.record(ENTRY)
            await until(lambda: books.num_lost > 0)
            blocker.execute("ROLLBACK")
            blocker.close()
            return books.num_lost

    assert asyncio.run(scene()) == 5
    assert num_rows(path) == 10
    assert "5 rows of the ledger are given up" in caplog.text


def test_rows_older_than_the_retention_are_deleted(path: Path) -> None:
    Database(path).record([ENTRY, replace(ENTRY, ended_s=4e9)], {})

    async def scene() -> None:
        async with running(path, AccountingConfig(retention_days=30)):
            await until(lambda: num_rows(path) == 1)

    asyncio.run(scene())
    assert num_rows(path) == 1


def test_where_it_cannot_be_told_whether_there_are_keys_no_server_opens(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(ConfigError, match=r"Permission denied; set accounting\.path"):
        Books(path, AUTO, Shelf())


def test_retention_of_nothing_keeps_everything(path: Path) -> None:
    Database(path).record([ENTRY], {})

    async def scene() -> None:
        async with running(path, AccountingConfig(retention_days=0)):
            await asyncio.sleep(0.05)

    asyncio.run(scene())
    assert num_rows(path) == 1


def test_an_empty_file_is_refused_since_its_keys_are_lost(path: Path) -> None:
    """Taken for a new file, it would open a server that had keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(ConfigError, match="are an empty file, so all keys in it are lost"):
        Books(path, AccountingConfig(), lambda keys: None)
