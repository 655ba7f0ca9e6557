"""Keys and the ledger in their file, seen through two connections."""

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from foveal.accounting import schema
from foveal.accounting.database import Database
from foveal.accounting.ledger import UsageRow
from foveal.accounting.limits import Limits
from foveal.errors import ConfigError
from tests.accounting.builders import ENTRY, KEY, key

DAY_S = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "accounting.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


def test_only_its_owner_can_read_it(database: Database, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_key_comes_back_as_it_was(database: Database, path: Path) -> None:
    full = key("bob", account="team", created_s=2.0, expires_s=3.0, revoked_s=4.0, limits=Limits(1, None, 0, 5))
    full = replace(full, spending_limit_nano=10**18, spent_nano=7, is_operator=True)
    plain = key("alice", created_s=1.0)
    database.add(full)
    database.add(plain)
    assert Database(path).all_keys() == [plain, full]
    assert database.key("bob") == full


def test_the_name_of_a_revoked_key_stays_taken(database: Database) -> None:
    database.add(key("alice", revoked_s=1.0))
    with pytest.raises(ConfigError, match="'alice' already"):
        database.add(key("alice", id="other"))
    with pytest.raises(ConfigError, match="no key 'bob'"):
        database.key("bob")


def test_a_change_leaves_what_was_spent_meanwhile(database: Database, path: Path) -> None:
    database.add(key("alice"))
    seen = database.key("alice")
    Database(path).record([], {"alice": 50})
    database.change(replace(seen, limits=Limits(requests_per_minute=9)))
    found = database.key("alice")
    assert (found.spent_nano, found.limits.requests_per_minute) == (50, 9)


def test_the_version_tells_of_what_others_write(database: Database, path: Path) -> None:
    before = database.version
    assert database.version == before
    other = Database(path)
    other.add(key("alice"))
    assert database.version != before


def test_rows_and_what_was_spent_are_written_together_or_not_at_all(database: Database) -> None:
    database.add(key("alice"))
    with pytest.raises(ConfigError):
        database.record([replace(ENTRY, prompt_tokens="many")], {"alice": 1})  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        database.record([ENTRY], {"alice": None})  # type: ignore[dict-item]
    assert (database.usage("key"), database.key("alice").spent_nano) == ([], 0)
    database.record([ENTRY, replace(ENTRY, request_id="r2")], {"alice": 1_400})
    assert database.key("alice").spent_nano == 1_400


def test_usage_is_summed_up_by_day_key_and_model(database: Database) -> None:
    database.record(
        [
            ENTRY,
            replace(ENTRY, ended_s=DAY_S + 1, status="failed", cost_nano=0, first_token_s=None),
            replace(ENTRY, ended_s=DAY_S + 2, key_name="bob", model="n", status="aborted", first_token_s=1.5),
        ],
        {},
    )
    first = UsageRow("1970-01-01", "USD", 1, 0, 0, 10, 4, 3, 5, 700, 0.5)
    second = UsageRow("1970-01-02", "USD", 2, 1, 1, 20, 8, 6, 10, 700, 1.5)
    assert database.usage("day") == [first, second]
    assert database.usage("day", since_s=DAY_S) == [second]
    assert [(row.group, row.num_requests) for row in database.usage("key")] == [("alice", 2), ("bob", 1)]
    assert [(row.group, row.cost_nano) for row in database.usage("model")] == [("m", 700), ("n", 700)]


def test_currencies_are_not_added_up(database: Database) -> None:
    database.record([ENTRY, replace(ENTRY, currency="EUR")], {})
    assert [(row.currency, row.cost_nano) for row in database.usage("day")] == [("EUR", 700), ("USD", 700)]


def test_old_rows_are_forgotten(database: Database) -> None:
    database.record([ENTRY, replace(ENTRY, ended_s=2_000.0)], {})
    database.forget(before_s=1_500.0)
    assert [row.num_requests for row in database.usage("day")] == [1]


def test_two_servers_write_at_once_and_nothing_is_lost(database: Database, path: Path) -> None:
    database.add(key("alice"))

    def write() -> None:
        own = Database(path)
        for _ in range(50):
            own.record([ENTRY], {"alice": 1})
        own.close()

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.key("alice").spent_nano == 100
    assert database.usage("key")[0].num_requests == 100


def test_a_file_of_something_else_is_told_to_the_operator(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    file.write_text("these are my notes, and no database at all" * 100)
    with pytest.raises(ConfigError, match=r"notes\.db cannot be used"):
        Database(file)


def test_a_file_of_a_later_version_is_left_alone(path: Path, database: Database) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '3'")
    with pytest.raises(ConfigError, match="newer Foveal"):
        Database(path)


def test_a_path_that_cannot_be_used_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"accounting\.path"):
        Database(tmp_path / "file" / "accounting.db")


OLD = Path(__file__).parents[1] / "data" / "accounts-of-version-1.db"  # written before there were migrations


def test_a_file_of_the_first_version_is_migrated_in_place(path: Path) -> None:
    path.parent.mkdir()
    shutil.copy(OLD, path)
    database = Database(path)
    bob = key("bob", account="team", created_s=2_000.0, expires_s=3e9, revoked_s=4.0, limits=Limits(1, None, 0, 5))
    bob = replace(bob, spending_limit_nano=10**18, spent_nano=7, is_operator=True)
    assert database.all_keys() == [replace(KEY, spent_nano=700), bob]
    assert database.usage("key") == [UsageRow("alice", "USD", 2, 1, 0, 20, 8, 6, 10, 700, 0.5)]
    database.record([ENTRY], {KEY.id: 1})
    assert Database(path).key("alice").spent_nano == 701


def test_servers_that_migrate_at_once_do_it_once(path: Path) -> None:
    path.parent.mkdir()
    shutil.copy(OLD, path)
    with ThreadPoolExecutor(4) as servers:
        assert [len(found) for found in servers.map(lambda _: Database(path).all_keys(), range(4))] == [2] * 4


def test_migrations_make_the_tables_that_the_code_knows(database: Database, path: Path) -> None:
    with create_engine(f"sqlite:///{path}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.tables) == []
        (strict,) = connection.exec_driver_sql("SELECT count(*) FROM pragma_table_list WHERE strict").one()
    assert strict == len(schema.tables.tables)


def test_alembic_is_imported_only_where_there_is_something_to_migrate(database: Database, path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from foveal.accounting.database import Database\n"
        "Database(Path(sys.argv[1])).all_keys(); print('alembic' in sys.modules, 'sqlalchemy.orm' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert ran.stdout == "False False\n"
