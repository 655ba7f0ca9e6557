"""Limits that hold for several servers of one SQLite file. tests/scale asks the same of PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accounting import together


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["REQUESTS_PER_MINUTE", "MAX_CONCURRENT_REQUESTS"])
def test_of_a_hundred_requests_at_eight_servers_exactly_as_many_pass_as_may(tmp_path: Path, limit: str) -> None:
    together.exactly_ten_pass(tmp_path / "accounting.db", limit)


@pytest.mark.slow
def test_a_key_spends_at_eight_servers_what_it_may_and_no_more(tmp_path: Path) -> None:
    together.nothing_is_spent_twice(tmp_path / "accounting.db")
