"""What `foveal keys` and `foveal usage` have in common: the database, and how times and money are typed and shown.

They work on the database, whether a server runs or not. A running server reads changes within seconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foveal.config import Config, accounts_place
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from foveal.accounting.database import Database

SPAN = re.compile(r"(\d{1,6})([mhd])")
SPAN_S = {"m": 60, "h": 3600, "d": 86_400}


@contextmanager
def open_database(config: Config, make: bool = False) -> Iterator[Database]:
    """The database, closed at the end. Raises ConfigError where there is none, unless `make`."""
    from foveal.accounting.database import Database

    place = accounts_place(config.accounting, os.environ)
    if not make and isinstance(place, Path) and not place.exists():
        raise ConfigError(
            f"there are no accounts at {place} yet: foveal keys create NAME makes the first key, and accounting.ledger "
            "= true keeps a ledger without keys"
        )
    database = Database(place)
    try:
        yield database
    finally:
        database.close()


def span_s(text: str) -> int | None:
    """30d, 12h or 90m in seconds; None for anything else."""
    found = SPAN.fullmatch(text)
    return int(found[1]) * SPAN_S[found[2]] if found else None


def date_s(text: str) -> float:
    """The Unix time of an ISO date, in UTC unless it says otherwise. Raises BadParameter."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no date (2027-01-31) and no span of time (30d, 12h, 90m)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def shown_date(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def shown_money(nano: int, currency: str) -> str:
    from foveal.accounting.prices import in_currency

    return f"{in_currency(nano):.6f} {currency}"
