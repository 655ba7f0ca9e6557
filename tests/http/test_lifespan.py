"""http/lifespan.py: an application between ASGI's startup and shutdown events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.http.lifespan import Lifespan

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Server:
    """Sends the events of a lifespan, and returns what it is told of each."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._life = asyncio.create_task(self._take({"type": "lifespan"}))

    async def send(self, event: str) -> Message:
        await self._events.put({"type": event})
        return await self._told.get()

    async def request(self) -> None:
        await self._take({"type": "http"})

    async def _take(self, scope: Scope) -> None:
        await self.app(scope, self._events.get, self._told.put)


async def test_the_application_is_there_between_the_events() -> None:
    happened: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        happened.append(scope["type"])

    @asynccontextmanager
    async def running() -> AsyncIterator[ASGIApp]:
        happened.append("opened")
        yield app
        happened.append("closed")

    server = Server(Lifespan(running))

    assert await server.send("lifespan.startup") == {"type": "lifespan.startup.complete"}
    await server.request()
    assert happened == ["opened", "http"]
    assert await server.send("lifespan.shutdown") == {"type": "lifespan.shutdown.complete"}
    assert happened == ["opened", "http", "closed"]


async def test_a_server_is_told_why_the_application_cannot_start() -> None:
    @asynccontextmanager
    async def running() -> AsyncIterator[ASGIApp]:
        raise ValueError("no such folder")
        yield

    told = await Server(Lifespan(running)).send("lifespan.startup")

    assert told == {"type": "lifespan.startup.failed", "message": "no such folder"}
