"""Puts accounting together as it is configured: keys of the configuration, a database, limits that servers share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex

from foveal.accounting.accounting import Accounting
from foveal.accounting.books import Books
from foveal.accounting.meters import LocalMeters
from foveal.accounting.shared_meters import SharedMeters
from foveal.config import Config, accounts_place


def open_accounting(config: Config, environ: Mapping[str, str]) -> Accounting:
    """Raises ConfigError for keys or a database that cannot be used."""
    settings, place, server_id = config.accounting, accounts_place(config.accounting, environ), token_hex(8)
    shares_limits = settings.url is not None if settings.shared_limits is None else settings.shared_limits
    goes_on = settings.without_database == "go_on"
    return Accounting(
        config.limits,
        config.prices,
        config.http.api_keys,
        open_books=lambda on_keys, on_written: Books(place, settings, on_keys, on_written, server_id),
        open_shared=(lambda alone: _shared_meters(place, server_id, alone, goes_on)) if shares_limits else None,
    )


def _shared_meters(place: Path | str, server_id: str, alone: LocalMeters, goes_on: bool) -> SharedMeters:
    from foveal.accounting.database import Database
    from foveal.accounting.shared_tables import SharedTables

    database = Database(place)
    return SharedMeters(database, SharedTables(database, server_id), alone, goes_on)
