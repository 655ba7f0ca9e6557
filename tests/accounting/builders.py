"""What the tests of accounting share: keys, entries, and a clock that a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from foveal.accounting.accounting import Accounting, OpenBooks
from foveal.accounting.bill import Bill
from foveal.accounting.books import Books
from foveal.accounting.database import Database
from foveal.accounting.keys import Key, digest_of
from foveal.accounting.ledger import Entry
from foveal.accounting.limits import Limits
from foveal.config import AccountingConfig, PriceConfig
from foveal.types import Caller, Outcome, Status, Usage

T = TypeVar("T")

SECRET = b"fvl-0123456789ab-secret"
KEY = Key("0123456789ab", "alice", digest_of(SECRET), created_s=1_000.0)
ENTRY = Entry("r1", 1_000.0, KEY.id, "alice", "default", "m", "finished", 10, 4, 3, 5, 700, "USD", 2.0, 0.5)


@dataclass
class Clock:
    """Seconds, as a clock is asked for them."""

    s: float = 1_000.0

    def __call__(self) -> float:
        return self.s


def key(name: str = "alice", **changes: Any) -> Key:
    """Another key for each name."""
    known = replace(KEY, id=name, name=name, digest=digest_of(name.encode()))
    return replace(known, **changes)


def limits(**changes: int) -> Limits:
    return Limits(**changes)


def outcome(
    prompt: int = 10, completion: int = 5, *, cached: int = 0, status: Status = "finished", first_s: float | None = 0.5
) -> Outcome:
    usage = Usage(prompt, image_tokens=0, text_tokens=prompt, cached_tokens=cached, completion_tokens=completion)
    return Outcome(usage, status, first_s, total_s=2.5)


def at_once(coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine that waits for nothing: those of local meters must not."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")


@contextmanager
def admitted(accounting: Accounting, caller: Caller, model: str, prices: PriceConfig | None = None) -> Iterator[Bill]:
    """`Accounting.admit` with local meters, which never waits."""
    admission = accounting.admit(caller, model, prices)
    bill = at_once(admission.__aenter__())
    try:
        yield bill
    except BaseException as error:
        at_once(admission.__aexit__(type(error), error, error.__traceback__))
        raise
    at_once(admission.__aexit__(None, None, None))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it, some ten seconds at most."""
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


def with_keys(folder: Path, *keys: Key) -> OpenBooks:
    """What opens books with these keys in a new file in the folder."""
    database = Database(folder / "accounting.db")
    for known in keys:
        database.add(known)
    database.close()
    config = AccountingConfig(ledger=True)
    return lambda on_keys, on_written: Books(folder / "accounting.db", config, on_keys, on_written)
