"""Writes server-sent events. Their content, and which one is the last, is the dialect's choice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _End:
    """Behind the last event."""

    error: Exception | None = None


async def kept_alive(events: AsyncIterator[T], ping: T) -> AsyncIterator[T]:
    """The events, with a ping between two where the second one takes longer than PING_S. None comes before the first.

    One task reads all events, and at most one ahead. Leaving it ends `events`.
    """
    read: asyncio.Queue[T | _End] = asyncio.Queue(1)
    reading = asyncio.create_task(_read(events, read))
    patience_s = None  # the first event decides whether there is a stream at all
    try:
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    event = await read.get()
            except TimeoutError:
                yield ping
                continue
            if isinstance(event, _End):
                if event.error is not None:
                    raise event.error
                return
            patience_s = PING_S
            yield event
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _read(events: AsyncIterator[T], into: asyncio.Queue[T | _End]) -> None:
    try:
        async for event in events:
            await into.put(event)
    except Exception as error:  # of any kind: it is the reader's
        await into.put(_End(error))
    else:
        await into.put(_End())
