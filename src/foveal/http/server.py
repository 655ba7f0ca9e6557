"""Serves the application with uvicorn, and bounds what a connection may cost before its request has a head."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from foveal.http.listener import check_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from foveal.accounting.accounting import Accounting
    from foveal.config import HttpConfig

MAX_HEAD_BYTES = 32 * 1024  # request line and headers
MAX_NUM_HEADERS = 100
HEAD_TIMEOUT_S = 15.0  # from the connection, or from a request's first byte, to the end of its head
KEEP_ALIVE_S = 75
GRACEFUL_SHUTDOWN_S = 5  # for what is still being sent when the answers have ended; then it is cut off


def create_server(app: ASGIApp, config: HttpConfig, accounting: Accounting) -> Server:
    """The server, not yet listening. Raises ConfigError as `check_keys` does."""
    check_keys(config, accounting)
    return Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            http=BoundedHttp,
            ws="none",
            lifespan="off",
            log_config=None,  # the command that starts the process configures logging
            access_log=False,  # request_log.py writes the line
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
        )
    )


class Server(uvicorn.Server):
    """uvicorn's server without its signal handling, which would stop listening at once.

    While running answers are finished, new requests get a 503 instead of a refused connection.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with bounds on a request's head in bytes and time, which its parser does not have."""

    _head_bytes: int | None = 0  # of the head that is being read; None while a body is read or a response sent
    _head_timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's signature
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_reading_head = self._head_bytes is not None
        super().data_received(data)
        if was_reading_head and self._head_bytes is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The request's headers are too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MAX_NUM_HEADERS:
            raise ValueError("too many headers")  # the parser stops, and uvicorn answers 400

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._head_timeout = self.loop.call_later(HEAD_TIMEOUT_S, self.timeout_keep_alive_handler)

    def _end_head(self) -> None:
        self._head_bytes = None
        if self._head_timeout is not None:
            self._head_timeout.cancel()
            self._head_timeout = None
