"""A real server in a thread, and a raw socket client, which can send anything."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import uvloop

from foveal.config import HttpConfig
from foveal.http.listener import listen
from foveal.http.server import create_server
from tests.http.client import accounting_for, app_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foveal.accounting.accounting import Accounting
    from tests.fakes import FakePipeline

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Served:
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def send(self, data: bytes) -> bytes:
        """Send bytes as they are; return what comes until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)


@contextmanager
def serving(
    pipeline: FakePipeline, config: HttpConfig | None = None, accounting: Accounting | None = None
) -> Iterator[Served]:
    config = config or HttpConfig()
    accounting = accounting or accounting_for(config)
    config = replace(config, port=0)
    listener = listen(config)
    server = create_server(app_for(pipeline, config, accounting), config, accounting)
    thread = threading.Thread(target=lambda: uvloop.run(server.serve([listener])))
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield Served(listener.getsockname()[1])
    finally:
        server.should_exit = server.force_exit = True
        thread.join(DEADLINE_S)
        listener.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError
        time.sleep(0.002)


def read_all(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def post_bytes(path: str, body: object, *headers: str) -> bytes:
    content = json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", *headers]
    return "\r\n".join([*head, f"content-length: {len(content)}", "", ""]).encode() + content
