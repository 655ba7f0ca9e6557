"""One SQLite file, or one in memory, as the standard library opens it. Knows no table."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foveal.errors import ConfigError

BUSY_TIMEOUT_S = 5.0  # to wait for the transactions of other connections


def connect(path: Path | None) -> sqlite3.Connection:
    """A connection to the file, which is created for its owner only; None: to one in memory. Raises ConfigError."""
    if path is not None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise ConfigError(
                f"the accounts cannot be kept at {path}: {error.strerror}; set accounting.path (FOVEAL_ACCOUNTING_PATH)"
            ) from None
    with telling(path):
        connection = sqlite3.connect(
            path or ":memory:", timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # survives the death of a process
        return connection


@contextmanager
def telling(path: Path | None) -> Iterator[None]:
    """Errors of the file as ConfigErrors."""
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError(f"the accounts at {path} cannot be used: {error}") from None
