"""One PostgreSQL server for all tests, and a new database for each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.scale.postgres import Postgres

NUMBERS = count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    from tests.scale.postgres import running

    with running() as server:
        yield server


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_database(f"accounts_{next(NUMBERS)}")
