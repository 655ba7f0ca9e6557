"""What a bystander notices of each attack of benchmarks/attacks.py: it waits longer by no more than a stated factor.

A real server with foveal-mini, two keys. Both figures are medians of the same test, so that a busy machine slows both.
Before there were bounds it waited without end (A8), was refused (A3), or waited 46 s (A4) and 180 s (A2).
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pytest

from benchmarks import abuse
from benchmarks.attacks import ATTACKS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.no_cover]

FACTOR = 40  # 64 streams run beside the bystander's in A8: each step computes all of them
LEAST_MS = 100.0  # and less than this alone says nothing of a machine
NUM_ANSWERS = 3

Server = tuple[str, int]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its URL, and the port of a server of pictures."""
    with abuse.picture_server() as port, abuse.foveal(tmp_path_factory.mktemp("abuse"), port) as url:
        abuse.bystander(url, port, num_answers=1)
        yield url, port


@pytest.mark.parametrize("name", ATTACKS)
def test_a_bystander_waits_a_bounded_factor_longer(server: Server, name: str) -> None:
    url, port = server
    alone = abuse.bystander(url, port, NUM_ANSWERS)
    with abuse.under(name, url):
        beside = abuse.bystander(url, port, NUM_ANSWERS)

    assert beside.failures == []
    assert statistics.median(beside.first_token_ms) < FACTOR * max(LEAST_MS, statistics.median(alone.first_token_ms))
    assert statistics.median(beside.gap_ms) < FACTOR * max(LEAST_MS, statistics.median(alone.gap_ms))
