"""`foveal deploy` before it reaches a cluster. On clusters: tests/scale."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from foveal.cli.deploy import check_listens
from foveal.errors import ConfigError


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Accepts connections on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_an_address_where_nothing_listens_is_refused_at_once(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()

    with pytest.raises(ConfigError, match=rf"there is no Ray cluster at 127\.0\.0\.1:{port}: Connection refused"):
        check_listens(f"127.0.0.1:{port}")


def test_an_address_where_something_listens_is_tried(listener: socket.socket) -> None:
    check_listens(f"127.0.0.1:{listener.getsockname()[1]}")


@pytest.mark.parametrize("address", ["auto", "local", "ray://127.0.0.1:1"])
def test_other_addresses_are_left_to_ray(address: str) -> None:
    check_listens(address)
