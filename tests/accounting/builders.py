"""What the tests of accounting share: keys, entries, and a clock that a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foveal.accounting.books import Books
from foveal.accounting.database import Database
from foveal.accounting.keys import Key, digest_of
from foveal.accounting.ledger import Entry
from foveal.accounting.limits import Limits
from foveal.config import AccountingConfig
from foveal.types import Outcome, Status, Usage

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


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it, some ten seconds at most."""
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


def with_keys(folder: Path, *keys: Key) -> Callable[[Callable[[Sequence[Key]], None]], Books]:
    """What opens books with these keys in a new file in the folder."""
    database = Database(folder / "accounting.db")
    for known in keys:
        database.add(known)
    database.close()
    return lambda on_keys: Books(folder / "accounting.db", AccountingConfig(ledger=True), on_keys)
