"""The body's limits, at the ASGI interface."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from foveal.config import HttpConfig
from foveal.errors import BodyTooLarge, InvalidRequest, RequestError
from foveal.http.middleware.body_limit import BODY_TIMEOUT_S, BodyLimit, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message, Receive, Scope, Send


def read_through(
    pieces: Sequence[bytes | None], content_length: str | None = None
) -> tuple[bytes, RequestError | None]:
    """What an application reads of a body under a limit of 10 bytes and 20 ms. A piece that is None never comes."""
    taken, failure = b"", None
    waiting = list(pieces)

    async def receive() -> Message:
        piece = waiting.pop(0)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal taken, failure
        try:
            while True:
                message = await receive()
                taken += message["body"]
                if not message["more_body"]:
                    return
        except RequestError as error:
            failure = error

    async def send(message: Message) -> None:
        raise NotImplementedError

    headers = [] if content_length is None else [(b"content-length", content_length.encode())]
    scope = {"type": "http", "headers": headers}
    asyncio.run(BodyLimit(application, 10, timeout_s=0.02 if None in pieces else 60.0)(scope, receive, send))
    return taken, failure


def test_a_body_within_the_limits_passes() -> None:
    assert read_through([b"12345", b"", b"67890"], "10") == (b"1234567890", None)


@pytest.mark.parametrize("length", ["11", "9999999999"])
def test_a_length_over_the_limit_stops_before_the_first_byte(length: str) -> None:
    taken, failure = read_through([b"1"], length)
    assert (taken, type(failure)) == (b"", BodyTooLarge)


@pytest.mark.parametrize("length", [None, "2", "-5", "many", "9" * 5000, "²"])
def test_bytes_are_counted_whatever_the_stated_length(length: str | None) -> None:
    taken, failure = read_through([b"12345", b"678901", b"2"], length)
    assert (taken, type(failure)) == (b"12345", BodyTooLarge)


def test_a_mobile_line_that_goes_silent_in_a_tunnel_is_fast_enough_for_the_largest_body() -> None:
    """300 kbit/s, and nothing at all for 15 s after the first minute. A piece comes each tenth of a second."""
    window, num_bytes, now_s = Window(), 0, 0.0
    while num_bytes < HttpConfig().max_body_bytes:
        wait_s = 15.0 if 60.0 < now_s < 60.11 else 0.1
        assert now_s + wait_s < min(window.end_s(num_bytes, now_s), BODY_TIMEOUT_S)
        now_s += wait_s
        num_bytes += 3750


def test_a_body_that_does_not_arrive_is_refused() -> None:
    taken, failure = read_through([b"12345", None])
    assert (taken, type(failure)) == (b"12345", InvalidRequest)
