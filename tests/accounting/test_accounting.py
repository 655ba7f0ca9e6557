"""Requests through accounting: which are admitted, and which rows are written."""

import asyncio
import logging
import sqlite3
from contextlib import ExitStack
from pathlib import Path

import pytest

from foveal.accounting.accounting import Accounting
from foveal.accounting.keys import digest_of
from foveal.accounting.limits import Allowance
from foveal.config import LimitConfig, PriceConfig
from foveal.errors import SpendingLimitReached, TooManyRequests
from foveal.types import Caller
from tests.accounting.builders import SECRET, Clock, admitted, at_once, key, limits, outcome, with_keys

PRICES = PriceConfig(prompt=1.0, completion=2.0)
ALICE = Caller("", "alice")


def test_a_request_is_settled_however_it_ends() -> None:
    accounting = Accounting(LimitConfig(max_concurrent_requests=1))
    for error in (ValueError, asyncio.CancelledError, GeneratorExit):
        with pytest.raises(error):
            _fail(accounting, error)
    with admitted(accounting, ALICE, "m"), pytest.raises(TooManyRequests), admitted(accounting, ALICE, "m"):
        pass
    with admitted(accounting, ALICE, "m"):
        pass


def _fail(accounting: Accounting, error: type[BaseException]) -> None:
    with admitted(accounting, ALICE, "m") as bill:
        at_once(bill.reserve(10, 10))
        raise error


def test_the_prompts_of_one_request_count_as_one() -> None:
    accounting, caller = Accounting(LimitConfig(requests_per_minute=5)), Caller("r", "alice")
    with ExitStack() as parts:
        bills = {id(parts.enter_context(admitted(accounting, caller, "m"))) for _ in range(3)}
    assert len(bills) == 1
    assert accounting.standing("alice").requests == Allowance(5, 4)
    with admitted(accounting, caller, "m"):  # the id is free again, and this is another request
        pass
    assert accounting.standing("alice").requests == Allowance(5, 3)


def test_keys_do_not_count_for_each_other() -> None:
    accounting = Accounting(LimitConfig(requests_per_minute=1))
    with admitted(accounting, ALICE, "m"), admitted(accounting, Caller("", "bob"), "m"):
        pass
    with pytest.raises(TooManyRequests), admitted(accounting, ALICE, "m"):
        pass


def test_a_key_is_held_to_its_own_limits(tmp_path: Path) -> None:
    accounting = Accounting(open_books=with_keys(tmp_path, key("alice", limits=limits(requests_per_minute=1))))
    with admitted(accounting, ALICE, "m"):
        pass
    with pytest.raises(TooManyRequests), admitted(accounting, ALICE, "m"):
        pass
    assert accounting.standing("bob").requests == Allowance(60_000, 60_000)


def test_limits_do_not_heed_the_wall_clock() -> None:
    clock, now = Clock(), Clock(2e9)
    accounting = Accounting(LimitConfig(requests_per_minute=1), clock=clock, now=now)
    with admitted(accounting, ALICE, "m"):
        pass
    for jump in (3e9, 0.0):
        now.s = jump
        with pytest.raises(TooManyRequests), admitted(accounting, ALICE, "m"):
            pass
    clock.s += 61
    with admitted(accounting, ALICE, "m"):
        pass


def test_a_spending_limit_holds_for_what_is_not_written_yet(tmp_path: Path) -> None:
    accounting = Accounting(
        prices=PRICES, open_books=with_keys(tmp_path, key("alice", spending_limit_nano=50_000, spent_nano=20_000))
    )
    with admitted(accounting, ALICE, "m") as bill:
        at_once(bill.reserve(10, 10))
        bill.count(outcome(10, 10))
    with pytest.raises(SpendingLimitReached), admitted(accounting, ALICE, "m"):
        pass


def test_a_row_says_what_a_request_took_and_nothing_of_what_was_said(tmp_path: Path) -> None:
    path = tmp_path / "accounting.db"

    async def scene() -> None:
        accounting = Accounting(prices=PRICES, open_books=with_keys(tmp_path, key("alice")), now=Clock(5_000.0))
        accounting.start()
        with admitted(accounting, Caller("r1", "alice", "team"), "m") as bill:
            at_once(bill.reserve(10, 10))
            bill.count(outcome(10, 5, cached=4, first_s=0.25))
        with admitted(accounting, Caller("refused", "alice", "team"), "m"):
            pass
        await accounting.close()

    asyncio.run(scene())
    with sqlite3.connect(path) as file:
        file.row_factory = sqlite3.Row
        rows = [dict(row) for row in file.execute("SELECT * FROM ledger")]
    assert rows == [
        {
            "request_id": "r1",
            "ended_s": 5_000.0,
            "key_id": "alice",
            "key_name": "alice",
            "account": "team",
            "model": "m",
            "status": "finished",
            "prompt_tokens": 10,
            "image_tokens": 0,
            "cached_tokens": 4,
            "completion_tokens": 5,
            "cost_nano": 20_000,
            "currency": "USD",
            "duration_s": 2.5,
            "first_token_s": 0.25,
        }
    ]


def test_each_model_has_prices_of_its_own(tmp_path: Path) -> None:
    accounting = Accounting(prices=PRICES, open_books=with_keys(tmp_path, key("alice", spending_limit_nano=10**9)))
    dear = PriceConfig(prompt=2.0, completion=20.0, currency="EUR")
    bills = []
    for model, prices in (("small", None), ("large", dear)):
        with admitted(accounting, ALICE, model, prices) as bill:
            at_once(bill.reserve(10, 5))
            bill.count(outcome(10, 5))
            bills.append((bill.model, bill.currency, bill.cost_nano))
    assert bills == [("small", "USD", 20_000), ("large", "EUR", 120_000)]


def test_keys_are_known_by_their_secret(tmp_path: Path) -> None:
    known = key("alice", id="0123456789ab", digest=digest_of(SECRET))
    accounting = Accounting(api_keys=("mine",), open_books=with_keys(tmp_path, known))
    assert accounting.requires_key
    found = [accounting.identify(secret) for secret in (SECRET, b"mine", b"other")]
    assert [key.name if key else None for key in found] == ["alice", "config-1", None]


def test_spending_limits_without_prices_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Accounting(open_books=with_keys(tmp_path, key("alice", spending_limit_nano=1)))
    assert "no effect until [prices]" in caplog.text
