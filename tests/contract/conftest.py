"""The server that the clients talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foveal.types import Delta
from tests.fakes import FakePipeline
from tests.http.server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWERS = (
    Delta(0, "A red"),
    Delta(0, " square."),
    Delta(0, finish_reason="stop"),
)


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    with serving(FakePipeline(ANSWERS)) as served:
        yield served.url
