"""Streams that are cut, seen through a socket: the client is told in its dialect, and what it took is billed once."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from foveal.accounting.accounting import Accounting
from foveal.accounting.database import Database
from foveal.config import Config, HttpConfig, ImageConfig, ModelConfig, PriceConfig
from foveal.engine_client import supervisor
from foveal.engine_client.supervisor import NOT_RESTARTED, EngineProcess
from foveal.errors import CLOSED
from foveal.http import connection
from foveal.http.listener import listen
from foveal.http.server import create_server
from foveal.serving import lifecycle
from foveal.serving.lifecycle import Service, Stop, run
from tests.accounting.builders import KEY, SECRET, until, with_keys
from tests.builders import tiny_llama
from tests.faults.engines import NUM_AT_ONCE
from tests.faults.test_engine_loading import run_instead
from tests.http.client import ASK, COMPLETE, app_for
from tests.http.server import post_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

COMMON = {"stream": True, "model": "tiny"}
HELLO = [{"role": "user", "content": "Hi"}]
WIRES: dict[str, dict[str, Any]] = {  # a body by its path
    "/v1/chat/completions": ASK | COMMON | {"max_tokens": 400},
    "/v1/completions": COMPLETE | COMMON | {"max_tokens": 400},
    "/v1/responses": COMMON | {"input": "Hi", "max_output_tokens": 400},
    "/v1/messages": COMMON | {"messages": HELLO, "max_tokens": 400},
    "/api/chat": COMMON | {"messages": HELLO},
}


@dataclass(frozen=True)
class Life:
    """A server with the engine of a test, from start to end."""

    port: int
    service: Service
    stop: Stop


@asynccontextmanager
async def living(folder: Path, accounting: Accounting | None = None) -> AsyncIterator[Life]:
    http = HttpConfig(port=0)
    tiny_llama(folder / "tiny")
    config = Config(
        ModelConfig(path=str(folder / "tiny")),
        images=ImageConfig(arena_bytes=1 << 20),
        prices=PriceConfig(prompt=1.0, completion=2.0),
    )
    service, stop, ready = Service(config, folder / "tiny", accounting), Stop(), asyncio.Event()
    app = app_for(service.pipeline, http, service.accounting)  # type: ignore[arg-type]  # no fake
    server = create_server(app, http, service.accounting)
    listener = listen(http)

    async def load() -> None:
        await service.start(EngineProcess.start)
        ready.set()

    living = asyncio.create_task(run(server, listener, load, service.pipeline.in_flight, stop))
    try:
        await ready.wait()
        yield Life(listener.getsockname()[1], service, stop)
    finally:
        stop.told.set()
        await living
        await service.close()
        listener.close()


def streams_of(port: int) -> dict[str, asyncio.Task[list[Any]]]:
    """One stream of each kind, by its path: a client reads its events to the end."""

    async def read(path: str, body: dict[str, Any]) -> list[Any]:
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"http://127.0.0.1:{port}{path}", json=body)
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines()]
        return [json.loads(line) for line in lines if line.startswith("{")]

    return {path: asyncio.create_task(read(path, body)) for path, body in WIRES.items()}


async def all_have_begun(life: Life) -> None:
    engine = life.service.pipeline.engine
    assert isinstance(engine, EngineProcess)
    running = engine._streams.result().in_flight
    await until(lambda: sum(len(stream.output_token_ids) for stream in running.values()) == len(WIRES))


def check_ends(path: str, events: list[Any], why: str) -> None:
    """What was said, and then the error as the wire writes it. No event says that all is well."""
    last, *others = reversed(events)
    assert others
    match path:
        case "/v1/messages":
            assert (last["type"], last["error"]["message"]) == ("error", why)
        case "/v1/responses":
            assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
            assert last["response"]["error"]["message"] == why
        case "/api/chat":
            assert last == {"error": why}
        case _:
            assert (last["error"]["object"], last["error"]["message"]) == ("error", why)
    assert not any(event.get("error") or event.get("done") or "completed" in event.get("type", "") for event in others)


async def ends_of(streams: dict[str, asyncio.Task[list[Any]]]) -> dict[str, list[Any]]:
    return dict(zip(streams, await asyncio.gather(*streams.values()), strict=True))


def endings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """How the log says that the answers ended."""
    return [record.__dict__["facts"]["finish"] for record in caplog.records if "facts" in record.__dict__]


def test_streams_that_outlast_the_drain_end_with_an_error_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="foveal.http")
    run_instead(monkeypatch, "says_a_word")
    monkeypatch.setattr(lifecycle, "DRAIN_S", 0.1)

    async def scene() -> dict[str, list[Any]]:
        async with living(tmp_path) as life:
            streams = streams_of(life.port)
            await all_have_begun(life)
            life.stop.told.set()
            return await ends_of(streams)

    for path, events in asyncio.run(scene()).items():
        check_ends(path, events, CLOSED)
    assert endings_of(caplog) == ["aborted"] * len(WIRES)


def test_streams_of_an_engine_that_is_given_up_end_with_an_error_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="foveal.http")
    run_instead(monkeypatch, "dies_for_good")
    monkeypatch.setattr(supervisor, "MAX_FAILED_STARTS", 2)
    monkeypatch.setattr(lifecycle, "DRAIN_S", 0.1)

    async def scene() -> dict[str, list[Any]]:
        async with living(tmp_path) as life:
            return await ends_of(streams_of(life.port))

    for path, events in asyncio.run(scene()).items():
        check_ends(path, events, NOT_RESTARTED)
    assert endings_of(caplog) == ["failed"] * len(WIRES)


def test_a_client_that_does_not_read_is_billed_once_for_all_that_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(monkeypatch, "says_much")
    monkeypatch.setattr(connection, "SEND_TIMEOUT_S", 0.3)
    accounting = Accounting(open_books=with_keys(tmp_path, KEY))

    async def scene() -> None:
        accounting.start()
        async with living(tmp_path, accounting) as life:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)  # or the kernel reads megabytes for it
                client.connect(("127.0.0.1", life.port))
                wordy = ASK | COMMON | {"max_tokens": 8000}
                client.sendall(post_bytes("/v1/chat/completions", wordy, f"authorization: Bearer {SECRET.decode()}"))
                await until(lambda: sum(accounting.totals.by_status.values()) > 0)
        await accounting.close()

    asyncio.run(scene())

    database = Database(tmp_path / "accounting.db")
    (row,) = database.usage("key")
    assert accounting.totals.by_status == {"aborted": 1}
    assert (row.num_requests, row.completion_tokens) == (1, NUM_AT_ONCE)
    assert database.key(KEY.name).spent_nano == 1000 * row.prompt_tokens + 2000 * NUM_AT_ONCE
