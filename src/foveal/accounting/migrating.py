"""Brings the tables of a database up to date. Alembic is imported only where there is something to do."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from foveal.accounting.backends import READS, lock
from foveal.accounting.schema import HEAD
from foveal.errors import ConfigError

FOLDER = Path(__file__).parent / "migrations"
BEFORE_ALEMBIC = "1"  # the migration that is in files with PRAGMA user_version = 1


def bring_up_to_date(engine: Engine, shown: str) -> None:
    """Make or change tables, all or nothing. Raises ConfigError for a database of a later version.

    Several processes may do it at once: one does, and the others find it done.
    """
    with engine.execution_options(**{READS: True}).begin() as connection:
        if _version(connection) == HEAD:
            return
    with engine.begin() as connection:
        lock(connection, "foveal: migrations")
        version = _version(connection)
        if version is not None and int(version) > int(HEAD):
            raise ConfigError(f"{shown} was written by a newer Foveal: update, or set another accounting.path")
        if version != HEAD:
            _migrate(connection, version)


def _version(connection: Connection) -> str | None:
    """The last migration; None for a new database."""
    if inspect(connection).has_table("alembic_version"):
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        return str(version) if version else None
    return None


def _migrate(connection: Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel("WARNING")
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    if version == BEFORE_ALEMBIC and not inspect(connection).has_table("alembic_version"):
        command.stamp(config, BEFORE_ALEMBIC)
    command.upgrade(config, "head")
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {HEAD}")  # a Foveal that knows no Alembic refuses the file
