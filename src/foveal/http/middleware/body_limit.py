"""Bounds a request's body in bytes and in time: by its stated length, and again while it is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from foveal.errors import BodyTooLarge, InvalidRequest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_TIMEOUT_S = 60.0  # from the request's head to the last byte of its body


class BodyLimit:
    """ASGI middleware: reading a body that is too large or too slow raises a RequestError."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _LimitedBody(scope, receive, self.max_body_bytes, self.timeout_s)
        await self.app(scope, body.receive, send)


class _LimitedBody:
    """`receive` for one request, with its body bounded."""

    def __init__(self, scope: Scope, receive: Receive, max_bytes: int, timeout_s: float) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._deadline_s = asyncio.get_running_loop().time() + timeout_s
        self._expected_bytes = _content_length(scope)
        self._num_bytes = 0
        self._is_complete = False

    async def receive(self) -> Message:
        if self._is_complete:  # after the body, the disconnection is the only message left
            return await self._receive()
        self._check(self._expected_bytes)
        try:
            async with asyncio.timeout_at(self._deadline_s):
                message = await self._receive()
        except TimeoutError:
            raise InvalidRequest("The body of the request did not arrive in time; send it faster or smaller.") from None
        self._num_bytes += len(message.get("body", b""))
        self._check(self._num_bytes)
        self._is_complete = not message.get("more_body", False)
        return message

    def _check(self, num_bytes: int) -> None:
        if num_bytes > self._max_bytes:
            raise BodyTooLarge(
                f"The request's body is over {self._max_bytes} bytes. Send smaller images, or URLs instead of base64."
            )


def _content_length(scope: Scope) -> int:
    """The stated length in bytes; 0 where none is stated, or none that is a number (the bytes are counted anyway)."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else 0
