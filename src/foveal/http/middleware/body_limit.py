"""Bounds a request's body in bytes, rate and time: by its stated length, and again while it is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from foveal.errors import BodyTooLarge, InvalidRequest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_TIMEOUT_S = 300.0  # from its first byte that is waited for to the last; 10 MB at 270 kbit/s
WINDOW_S = (
    20.0  # a line may be silent for most of it; the body's end, or at least MIN_WINDOW_BYTES, has to come in each
)
MIN_WINDOW_BYTES = 64 * 1024


class BodyLimit:
    """ASGI middleware: reading a body that is too large or too slow raises a RequestError."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _LimitedBody(scope, receive, self.max_body_bytes, self.timeout_s)
        await self.app(scope, body.receive, send)


class Window:
    """The current stretch of time in which a body has to make some progress."""

    def __init__(self) -> None:
        self._end_s: float | None = None
        self._num_bytes_at_end = 0

    def end_s(self, num_bytes: int, now_s: float) -> float:
        """When the next bytes have to be there. `num_bytes`: what has come by now."""
        if self._end_s is None or num_bytes >= self._num_bytes_at_end:
            self._end_s = now_s + WINDOW_S
            self._num_bytes_at_end = num_bytes + MIN_WINDOW_BYTES
        return self._end_s


class _LimitedBody:
    """`receive` for one request, with its body bounded."""

    def __init__(self, scope: Scope, receive: Receive, max_bytes: int, timeout_s: float) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._deadline_s: float | None = None  # since the body is waited for
        self._window = Window()
        self._expected_bytes = content_length(scope)
        self._num_bytes = 0
        self._is_complete = False

    async def receive(self) -> Message:
        if self._is_complete:  # after the body, the disconnection is the only message left
            return await self._receive()
        self._check(self._expected_bytes)
        now_s = asyncio.get_running_loop().time()
        self._deadline_s = self._deadline_s or now_s + self._timeout_s
        try:
            async with asyncio.timeout_at(min(self._deadline_s, self._window.end_s(self._num_bytes, now_s))):
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


def content_length(scope: Scope) -> int:
    """The stated length in bytes; 0 where none is stated, or none that is a number (the bytes are counted anyway)."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else 0
