"""A name service that does not answer for some names: `serve` is the child of a resolver in tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from foveal.media import lookups

if TYPE_CHECKING:
    import socket

SILENT = f"{__name__}:serve"


def find(host: str) -> tuple[str, ...]:
    if host.startswith("silent"):
        time.sleep(3600)
    return lookups.addresses(host)


def serve(server: socket.socket) -> None:
    lookups.serve(server, find)
