"""Keys, the ledger and limits in PostgreSQL, as several servers and the command line use it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from foveal.accounting.accounting import Accounting
from foveal.accounting.database import Database
from foveal.accounting.ledger import UsageRow
from foveal.accounting.limits import Limits
from foveal.accounting.opening import open_accounting
from foveal.cli import app as foveal
from foveal.config import AccountingConfig, Config, LimitConfig
from foveal.errors import ConfigError, Overloaded, TooManyRequests
from foveal.types import Caller
from tests.accounting import together
from tests.accounting.builders import ENTRY, key, outcome

if TYPE_CHECKING:
    from tests.scale.postgres import Postgres

pytestmark = pytest.mark.scale

ALICE = Caller("", "alice")
DAY_S = 86_400.0


@pytest.mark.parametrize("limit", ["REQUESTS_PER_MINUTE", "MAX_CONCURRENT_REQUESTS"])
def test_of_a_hundred_requests_at_eight_servers_exactly_as_many_pass_as_may(url: str, limit: str) -> None:
    together.exactly_ten_pass(url, limit)


def test_a_key_spends_at_eight_servers_what_it_may_and_no_more(url: str) -> None:
    together.nothing_is_spent_twice(url)


def test_keys_and_sums_are_those_of_a_file(url: str, tmp_path: Path) -> None:
    full = key("bob", account="team", created_s=2.0, expires_s=3.0, revoked_s=4.0, limits=Limits(1, None, 0, 5))
    full = replace(full, spending_limit_nano=10**18, spent_nano=7, is_operator=True)
    entries = [ENTRY, replace(ENTRY, ended_s=DAY_S + 1, status="failed", key_name="bob", first_token_s=None)]
    found = []
    for place in (url, tmp_path / "accounting.db"):
        database = Database(place)
        database.add(full)
        database.record(entries, {full.id: 93})
        found.append((database.all_keys(), [database.usage(by) for by in ("day", "key", "model")]))
        database.close()
    assert found[0] == found[1]
    assert found[0][0] == [replace(full, spent_nano=100)]
    assert found[0][1][0][1] == UsageRow("1970-01-02", "USD", 1, 1, 0, 10, 4, 3, 5, 700, None)


def test_a_batch_is_written_once(url: str) -> None:
    database = Database(url)
    database.add(key("alice"))
    for number in (1, 1, 2, 2):
        database.record([ENTRY], {"alice": 7}, ("server", number))
    assert database.key("alice").spent_nano == 14
    assert database.usage("key")[0].num_requests == 2
    database.close()


def test_servers_that_start_at_once_make_the_tables_once(url: str) -> None:
    def open_one() -> None:
        Database(url).close()

    threads = [threading.Thread(target=open_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(Database(url)) as database:
        assert database.all_keys() == []


def test_the_commands_for_keys_work_on_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_ACCOUNTING_URL", url)
    run = CliRunner()
    secret = run.invoke(foveal, ["keys", "create", "alice", "--requests-per-minute", "9"]).stdout.strip()
    assert run.invoke(foveal, ["keys", "set", "alice", "--expires", "never"]).exit_code == 0
    assert "requests_per_minute 9" in run.invoke(foveal, ["keys", "list"]).stdout
    accounting = open_accounting(Config(accounting=AccountingConfig(url=url)), {})
    assert accounting.identify(secret.encode()) is not None
    asyncio.run(accounting.close())
    assert run.invoke(foveal, ["keys", "revoke", "alice"]).exit_code == 0
    assert run.invoke(foveal, ["usage"]).exit_code == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("mysql://x/y", "has to be as postgresql://"), ("postgresql://u:secret@127.0.0.1:1/x", "cannot be used")],
)
def test_a_database_that_cannot_be_had_is_told_without_its_password(wrong: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        Database(wrong)
    assert "secret" not in str(error.value)


# --- the database is away ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(url: str, **settings: str) -> AsyncIterator[Accounting]:
    config = Config(
        limits=LimitConfig(max_concurrent_requests=2),
        accounting=AccountingConfig(url=url, **settings),  # type: ignore[arg-type]
    )
    accounting = open_accounting(config, {})
    accounting.start()
    try:
        yield accounting
    finally:
        await accounting.close()


async def ask(accounting: Accounting) -> None:
    async with accounting.admit(ALICE, "m") as bill:
        await bill.reserve(10, 10)
        bill.count(outcome())


def num_rows(url: str) -> int:
    with closing(Database(url)) as database:
        return sum(row.num_requests for row in database.usage("day"))


async def is_served(accounting: Accounting) -> bool:
    try:
        await ask(accounting)
    except Overloaded:
        return False
    return True


@pytest.mark.parametrize("away", ["frozen for 30 s", "down for 5 s"])
def test_while_the_database_is_away_what_runs_goes_on_and_what_is_new_is_told_so(
    postgres: Postgres, url: str, away: str
) -> None:
    with closing(Database(url)) as database:
        database.add(key("alice"))

    async def scene() -> int:
        async with serving(url) as accounting:
            async with accounting.admit(ALICE, "m") as bill:
                await bill.reserve(10, 10)
                leave, come_back = (
                    (postgres.freeze, postgres.thaw) if "frozen" in away else (postgres.stop, postgres.start)
                )
                leave()
                with pytest.raises(Overloaded, match="cannot be reached"):
                    await ask(accounting)
                started_s = time.monotonic()
                for _ in range(100):  # refused at once, now that it is known
                    with pytest.raises(Overloaded):
                        await ask(accounting)
                assert time.monotonic() - started_s < 2.0
                bill.count(outcome())
            await asyncio.sleep(30.0 if "frozen" in away else 5.0)
            come_back()
            num_served = 0
            while not num_served:
                num_served += await is_served(accounting)
                await asyncio.sleep(0.1)
            return num_served

    assert asyncio.run(scene()) == 1
    assert num_rows(url) == 2


def test_by_configuration_each_server_goes_on_alone(postgres: Postgres, url: str) -> None:
    with closing(Database(url)) as database:
        database.add(key("alice"))

    async def scene() -> None:
        async with serving(url, without_database="go_on") as accounting:
            await ask(accounting)
            postgres.freeze()
            with pytest.raises(Overloaded):  # the one that finds out
                await ask(accounting)
            for _ in range(10):
                await ask(accounting)
            async with accounting.admit(ALICE, "m"), accounting.admit(ALICE, "m"):
                with pytest.raises(TooManyRequests):  # its own limits still hold
                    await ask(accounting)
            postgres.thaw()

    asyncio.run(scene())
    assert num_rows(url) == 11
