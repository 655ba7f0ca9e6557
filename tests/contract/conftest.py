"""One server and one host of pictures for the whole session; each test asks the same ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal

from tests.contract.pictures import PAGES
from tests.contract.serve import Served, serving
from tests.media import host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.media.host import Host


@pytest.fixture(scope="session")
def pictures() -> Iterator[Host]:
    """PAGES on loopback, where only the server under test may fetch."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(host.serving(PAGES)) as running:
        yield running


@pytest.fixture(scope="session")
def served(pictures: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("served") / "log.txt"
    settings = {
        "FOVEAL_IMAGES_ALLOWED_HOSTS": f"127.0.0.1:{pictures.port}",
        "FOVEAL_IMAGES_FETCH_TIMEOUT_S": "5",  # more than by default, for a busy machine
        "FOVEAL_ENGINE_DTYPE": "float32",  # so that one picture, however it came, gives the same numbers
    }
    with serving(log, **settings) as running:
        yield running
