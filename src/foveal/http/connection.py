"""One connection: uvicorn's HTTP/1.1, with a bound on every phase, which uvicorn does not have.

| phase | bound |
|---|---|
| being there at all | `Places`: one address has a share of all connections |
| idle, and the head of a request | time and bytes |
| the body | its rate, in middleware/body_limit.py; a response that begins before the body has ended is the last one |
| the response | a client that does not read for a while is cut off, which ends the generation |
| the end | what a client still sends is thrown away for a while, so that it can read why it was refused |

An offer to upgrade is ignored, as RFC 9110 section 7.8 allows: the request is answered as if it had none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from foveal.http.places import Places

MAX_HEAD_BYTES = 32 * 1024  # request line and headers
MAX_NUM_HEADERS = 100
HEAD_TIMEOUT_S = 15.0  # from the connection, or from a request's first byte, to the end of its head
SEND_TIMEOUT_S = 30.0  # for a client to read MIN_SENT_BYTES of what waits for it
MIN_SENT_BYTES = 8 * 1024
LINGER_S = 10.0  # from a connection's last response to its end, for a client that still sends or reads


class BoundedHttp(HttpToolsProtocol):
    """`places`: the room for connections, shared by all."""

    def __init__(self, places: Places, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places = places
        self._answer, self.app = self.app, self._answer_and_close
        self._has_place = False
        self._is_message_complete = True  # of the last message that began
        self._head_bytes: int | None = 0  # of the head that is being read; None while a body is read or a response sent
        self._head_timeout: asyncio.TimerHandle | None = None
        self._send_timeout: asyncio.TimerHandle | None = None

    # --- the connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's signature
        super().connection_made(GentleTransport(transport, self))  # type: ignore[arg-type] # it has what uvicorn calls
        self._has_place = self._places.take(self.client and self.client[0])
        if self._has_place:
            self._expect_head()
        else:
            self._refuse("503 Service Unavailable", "There are too many connections. Close some, or try again later.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self.resume_writing()
        if self._has_place:
            self._places.leave(self.client and self.client[0])
        super().connection_lost(exc)

    @property
    def is_client_sending(self) -> bool:
        return self._has_place and not self._is_message_complete

    def send_400_response(self, msg: str) -> None:
        self._refuse("400 Bad Request", msg)

    def _refuse(self, status: str, message: str) -> None:
        """Answer what no route could be found for."""
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {len(message)}\r\n"
            f"x-request-id: {uuid4().hex}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write((head + message).encode("ascii"))
        self.transport.close()

    # --- heads and bodies ---------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if self._is_message_complete and self._head_timeout is None and not self._is_answering():
            self._expect_head()  # line breaks before a request begin no message
        was_reading_head = self._head_bytes is not None
        self._feed(data)
        if was_reading_head and self._head_bytes is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The request's headers are too large.")

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _decline(self, rest: bytes) -> None:
        """Read the request again without its offer to upgrade. `rest`: what came after the head."""
        if self.parser.get_method() == b"CONNECT":
            self.send_400_response("This server is no proxy.")
            return
        kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join([line, *kept, b"", b""]) + rest)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_message_complete = False
        self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MAX_NUM_HEADERS:
            raise ValueError("too many headers")  # the parser stops, and uvicorn answers 400

    def on_headers_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._end_head()
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._is_message_complete = True
            super().on_message_complete()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._head_timeout = self.loop.call_later(HEAD_TIMEOUT_S, self.timeout_keep_alive_handler)

    def _end_head(self) -> None:
        self._head_bytes = None
        if self._head_timeout is not None:
            self._head_timeout.cancel()
            self._head_timeout = None

    # --- responses ----------------------------------------------------------------------------------------------------

    async def _answer_and_close(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Where a response begins before its request's body has ended, nothing after it can be understood."""

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and scope is self.scope and not self._is_message_complete:
                self.cycle.keep_alive = False
            await send(message)

        await self._answer(scope, receive, send_and_close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_timeout is not None:
            self._send_timeout.cancel()
            self._send_timeout = None

    def _expect_reading(self) -> None:
        num_unread = self.transport.get_write_buffer_size()
        self._send_timeout = self.loop.call_later(SEND_TIMEOUT_S, self._check_reading, num_unread)

    def _check_reading(self, num_before: int) -> None:
        if num_before - self.transport.get_write_buffer_size() < MIN_SENT_BYTES:
            self.transport.abort()
        else:
            self._expect_reading()


class GentleTransport:
    """A connection's transport, whose `close` lets the client read the last response.

    A client that still sends would lose it: the kernel resets a connection that is closed with bytes unread.
    """

    def __init__(self, transport: asyncio.Transport, connection: BoundedHttp) -> None:
        self._transport = transport
        self._connection = connection
        self._is_closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._is_closing or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self._is_closing = True
        self._connection.loop.call_later(LINGER_S, self._transport.abort)
        if self._connection.is_client_sending:
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()
