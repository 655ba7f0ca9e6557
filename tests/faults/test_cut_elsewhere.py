"""Streams of other servers that are cut because this one stops, seen through a socket: as those of its own engine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from foveal.accounting.accounting import Accounting
from foveal.config import Config, HttpConfig, ImageConfig, ServedConfig, UpstreamConfig
from foveal.errors import CLOSED
from foveal.http.app import create_app
from foveal.http.listener import listen
from foveal.http.server import create_server
from foveal.serving import lifecycle
from foveal.serving.elsewhere import ModelsElsewhere
from foveal.serving.in_flight import InFlight
from foveal.serving.lifecycle import Stop, run
from foveal.serving.served import ServedModels
from tests.accounting.builders import until
from tests.faults.test_cut_streams import WIRES, check_ends, ends_of, streams_of
from tests.http.client import ASK
from tests.upstream.host import OtherServer, Reply, event, other_server, said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# A piece of a chat and one of a completion; a reader takes either.
HALF = Reply((said("Hel"), event({"choices": [{"index": 0, "text": "lo"}]})), never_ends=True)
SILENT = Reply(is_silent=True)


@asynccontextmanager
async def stopping(host: OtherServer) -> AsyncIterator[tuple[int, Stop, InFlight]]:
    """A server without a model of its own, on a port, until it has stopped."""
    http, accounting, in_flight, stop = HttpConfig(port=0), Accounting(), InFlight(), Stop()
    models = (ServedConfig("tiny", UpstreamConfig(host.url)),)
    elsewhere = ModelsElsewhere(Config(images=ImageConfig(arena_bytes=1 << 20), models=models), accounting, in_flight)
    server = create_server(create_app(ServedModels(elsewhere.served), http, accounting), http, accounting)
    listener = listen(http)

    async def load() -> None:
        """There is nothing to load."""

    living = asyncio.create_task(run(server, listener, load, in_flight, stop))
    try:
        yield listener.getsockname()[1], stop, in_flight
    finally:
        stop.told.set()
        await living
        await elsewhere.close()
        listener.close()


def test_streams_that_outlast_the_drain_end_with_an_error_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "DRAIN_S", 0.1)

    async def scene() -> dict[str, list[Any]]:
        async with other_server(HALF) as host, stopping(host) as (port, stop, _):
            streams = streams_of(port)
            await until(lambda: len(host.bodies) == len(WIRES))
            stop.told.set()
            return await ends_of(streams)

    for path, events in asyncio.run(scene()).items():
        check_ends(path, events, CLOSED)


def test_a_request_without_a_first_piece_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "DRAIN_S", 0.1)

    async def scene() -> httpx.Response:
        async with other_server(SILENT) as host, stopping(host) as (port, stop, _), httpx.AsyncClient() as client:
            asking = client.post(
                f"http://127.0.0.1:{port}/v1/chat/completions", json=ASK | {"model": "tiny"}, timeout=60
            )
            asked = asyncio.create_task(asking)
            await until(lambda: len(host.bodies) == 1)
            stop.told.set()
            return await asked

    response = asyncio.run(scene())
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")


def test_what_ends_within_the_drain_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> httpx.Response:
        hello = Reply((said("Hello"), said(finish="stop")), is_held=True)
        async with (
            other_server(hello) as host,
            stopping(host) as (port, stop, in_flight),
            httpx.AsyncClient() as client,
        ):
            asking = client.post(
                f"http://127.0.0.1:{port}/v1/chat/completions", json=ASK | {"model": "tiny"}, timeout=60
            )
            asked = asyncio.create_task(asking)
            await until(lambda: len(host.bodies) == 1)
            stop.told.set()
            await until(lambda: in_flight.is_draining)
            host.may_answer.set()
            return await asked

    assert asyncio.run(scene()).json()["choices"][0]["message"]["content"] == "Hello"
