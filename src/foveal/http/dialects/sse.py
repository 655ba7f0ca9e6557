"""Writes server-sent events. Their content, and which one is the last, is the dialect's choice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from foveal.http.responses import to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MEDIA_TYPE = "text/event-stream"
PING_S = 10.0

T = TypeVar("T")


def event(payload: object, name: str | None = None) -> bytes:
    """One event. Encoded JSON has no line breaks, so one `data:` line is enough."""
    data = b"data: " + to_json(payload) + b"\n\n"
    return data if name is None else b"event: " + name.encode() + b"\n" + data


async def kept_alive(events: AsyncIterator[T], ping: T) -> AsyncIterator[T]:
    """The events, with a ping between two where the second one takes longer than PING_S. None comes before the first.

    Leaving it ends `events`.
    """
    upcoming = asyncio.ensure_future(anext(events))
    try:
        await asyncio.wait([upcoming])  # the first event decides whether there is a stream at all
        while True:
            done, _ = await asyncio.wait([upcoming], timeout=PING_S)
            if not done:
                yield ping
                continue
            try:
                event = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = asyncio.ensure_future(anext(events))
            yield event
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)
