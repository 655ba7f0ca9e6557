"""Hostile input to keys and limits: floods of wrong keys, strange keys, races, kills."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from foveal.accounting.accounting import Accounting
from foveal.accounting.database import Database
from foveal.accounting.keys import Key, digest_of, new_key
from foveal.config import HttpConfig, LimitConfig, PriceConfig
from foveal.errors import SpendingLimitReached, TooManyRequests
from foveal.types import Caller
from tests.accounting.builders import ENTRY, SECRET, admitted, at_once, key, outcome, with_keys
from tests.fakes import FakePipeline
from tests.http.client import ASK, app_for, send
from tests.http.server import serving

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = Key("0123456789ab", "alice", digest_of(SECRET))


@pytest.mark.no_cover  # tracing would take three times as long as the test
@pytest.mark.slow
def test_ten_thousand_wrong_keys_get_nowhere_and_leave_nothing_behind(tmp_path: Path) -> None:
    accounting = Accounting(open_books=with_keys(tmp_path, KNOWN))
    app = app_for(FakePipeline(), HttpConfig(), accounting)

    async def flood() -> set[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            wrong = (f"fvl-{'0123456789ab' if number % 2 else number}-{number}" for number in range(10_000))
            answers = [await client.get("/v1/models", headers={"authorization": f"Bearer {k}"}) for k in wrong]
            return {answer.status_code for answer in answers}

    assert asyncio.run(flood()) == {401}
    assert accounting._meters._meters == {}  # type: ignore[union-attr]  # no memory for those who were not let in
    right = {"authorization": f"Bearer {SECRET.decode()}"}
    assert send(app, "GET", "/v1/models", headers=right).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        b"Bearer " + SECRET + b"\0",
        b"Bearer \0" + SECRET,
        b"Bearer " + SECRET + b"," + SECRET,
        b"Bearer fvl-0123456789ab-\xff\xfe\x80",
        b"Bearer " + b"A" * 30_000,
        b"Bearer " + "ẞ".encode() * 100,
        b"Bearer ' OR 1=1; DROP TABLE key; --",
        b"Bearer fvl-' OR ''='-x",
        b"\0",
        b"Bearer",
    ],
)
def test_strange_keys_are_wrong_keys(tmp_path: Path, authorization: bytes) -> None:
    app = app_for(FakePipeline(), HttpConfig(), Accounting(open_books=with_keys(tmp_path, KNOWN)))
    response = send(app, "GET", "/v1/models", headers=[(b"authorization", authorization)])
    assert response.status_code == 401
    assert [known.name for known in Database(tmp_path / "accounting.db").all_keys()] == ["alice"]


def test_keys_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each guess, whatever it is like, costs as many comparisons as any other."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("hmac.compare_digest", compare)
    accounting = Accounting(api_keys=("one", "two"), open_books=with_keys(tmp_path, KNOWN))
    counts = set()
    for secret in (b"", b"one", b"two", SECRET, SECRET + b"x", new_key().secret.encode()):
        compared.clear()
        accounting.identify(secret)
        counts.add((len(compared), *{len(text) for pair in compared for text in pair}))
    assert counts == {(3, 32)}


def test_requests_that_race_pass_no_limit() -> None:
    """Fifty at once over real connections; each of them takes its time."""
    accounting = Accounting(LimitConfig(requests_per_minute=20))
    pipeline = FakePipeline(accounting=accounting)
    with serving(pipeline, accounting=accounting) as served, ThreadPoolExecutor(16) as clients:
        url = f"{served.url}/v1/chat/completions"
        answers = list(clients.map(lambda _: httpx.post(url, json=ASK, timeout=60), range(50)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (20, 30)
    assert all(0 < int(answer.headers["retry-after"]) <= 61 for answer in answers if answer.status_code == 429)


def test_requests_that_race_spend_no_more_than_there_is(tmp_path: Path) -> None:
    """A hundred tasks that each may cost 30 of 100 run and end in each other's way."""
    prices = PriceConfig(prompt=1.0, completion=1.0)
    accounting = Accounting(prices=prices, open_books=with_keys(tmp_path, key("alice", spending_limit_nano=100_000)))
    spent: list[int] = []

    async def ask(number: int) -> None:
        await asyncio.sleep(number % 7 / 1000)
        with (
            suppress(SpendingLimitReached, TooManyRequests),
            admitted(accounting, Caller(f"r{number}", "alice"), "m") as bill,
        ):
            at_once(bill.reserve(10, 20))
            await asyncio.sleep(number % 5 / 1000)
            bill.count(outcome(10, number % 21))
            spent.append(10 + number % 21)

    async def scene() -> None:
        accounting.start()
        await asyncio.gather(*(ask(number) for number in range(100)))
        await accounting.close()

    asyncio.run(scene())
    total = Database(tmp_path / "accounting.db").key("alice").spent_nano
    assert total == sum(spent) * 1000
    assert 30_000 <= total <= 100_000


def test_a_server_that_is_killed_loses_a_second_at_most(tmp_path: Path) -> None:
    """A process records a row every 10 ms and says so; what it said more than two intervals ago is in the file."""
    path = tmp_path / "accounting.db"
    program = f"""
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from foveal.accounting.books import Books
from foveal.config import AccountingConfig
from tests.accounting.builders import ENTRY
async def main():
    books = Books(Path({str(path)!r}), AccountingConfig(ledger=True), lambda keys: None)
    books.start()
    for number in range(10_000):
        books.record(replace(ENTRY, request_id=str(number)))
        print(number, flush=True)
        await asyncio.sleep(0.01)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [int(next(process.stdout)) for _ in range(400)]
        os.kill(process.pid, signal.SIGKILL)
        said += [int(line) for line in process.stdout if line.endswith("\n")]  # while we were kept from killing it
    (row,) = Database(path).usage("key")
    assert len(said) - 250 <= row.num_requests <= len(said) + 1
    assert ENTRY.prompt_tokens * row.num_requests == row.prompt_tokens  # rows are whole


def test_a_key_that_is_revoked_while_it_streams_ends_its_answer_and_gets_no_other(tmp_path: Path) -> None:
    accounting = Accounting(open_books=with_keys(tmp_path, KNOWN))
    with admitted(accounting, Caller("r", KNOWN.id), "m") as bill:
        at_once(bill.reserve(1, 1))
        accounting._take_in([replace(KNOWN, revoked_s=1.0)])
        bill.count(outcome())
    assert accounting.identify(SECRET) is None
    assert accounting.totals.by_status == {"finished": 1}


def test_errors_about_accounts_tell_clients_nothing_of_them(tmp_path: Path) -> None:
    accounting = Accounting(open_books=with_keys(tmp_path, replace(KNOWN, limits=key().limits)))
    app = app_for(FakePipeline(), HttpConfig(), accounting)
    for authorization in ("Bearer fvl-0123456789ab-guess", "Bearer nothing"):
        body = send(app, "GET", "/v1/models", headers={"authorization": authorization}).text
        assert "alice" not in body
        assert str(tmp_path) not in body
        assert json.loads(body)["error"]["message"] == "The API key you provided is invalid."
