"""A server from start to end: it listens, loads, answers, finishes running answers when told to stop, and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from foveal.arena import PixelArena
from foveal.config import Config, EngineConfig, ImageConfig, ModelConfig
from foveal.engine_client.client import EngineClient
from foveal.errors import CheckpointError, Draining, GenerationFailed
from foveal.serving import lifecycle
from foveal.serving.lifecycle import Service, Stop, run, when_told_to_stop
from foveal.types import ChatRequest, Message, OnProgress, Token
from tests.accounting.builders import until
from tests.builders import tiny_llama
from tests.serving.test_pipeline import ScriptedEngine

HELLO = ChatRequest((Message("user", ("hello",)),))


class FakeServer:
    """Listens until it is told to stop, or until it breaks."""

    def __init__(self) -> None:
        self.should_exit = self.force_exit = False
        self.is_listening = self.is_broken = False
        self.failure: Exception | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self.is_listening = True
        await until(lambda: self.should_exit or self.is_broken)
        self.is_listening = False
        if self.failure is not None:
            raise self.failure


class Life:
    """One run of a service with an engine that is there when `loaded` is set, or fails to come."""

    def __init__(self, folder: Path, failure: Exception | None = None) -> None:
        config = Config(ModelConfig(path=str(folder)), images=ImageConfig(arena_bytes=1 << 20))
        self.service = Service(config, folder)
        self.server, self.stop = FakeServer(), Stop()
        self.loaded, self.ready = asyncio.Event(), asyncio.Event()
        self.failure = failure
        self.engine: EngineClient = ScriptedEngine(lambda seed: [Token(1), Token(1), Token(1, "length")])
        self.run = asyncio.create_task(self._run())

    async def _run(self) -> None:
        with socket.socket() as listener:
            try:
                await run(self.server, listener, self._load, self.service.pipeline.in_flight, self.stop)
            finally:
                await self.service.close()

    async def _load(self) -> None:
        await self.service.start(self._start)
        self.ready.set()

    async def _start(self, folder: str, config: EngineConfig, arena: PixelArena, _: OnProgress) -> EngineClient:
        await self.loaded.wait()
        if self.failure is not None:
            raise self.failure
        return self.engine


Scene = Callable[[Callable[[Life], Awaitable[None]]], None]


@pytest.fixture
def live(tmp_path: Path) -> Scene:
    """Plays a scene of a server's life, at the end of which it has ended."""
    folder = tiny_llama(tmp_path)

    def scene(act: Callable[[Life], Awaitable[None]]) -> None:
        async def play() -> None:
            life = Life(folder)
            async with asyncio.timeout(30):
                await act(life)
            assert life.run.done()
            assert not life.server.is_listening

        asyncio.run(play())

    return scene


def test_it_listens_while_the_model_is_loaded_and_may_be_told_to_stop(live: Scene) -> None:
    async def act(life: Life) -> None:
        await until(lambda: life.server.is_listening)
        life.stop.told.set()
        await life.run
        assert not life.ready.is_set()

    live(act)


def test_told_to_stop_it_finishes_what_it_answers_and_sends_others_away(live: Scene) -> None:
    async def act(life: Life) -> None:
        life.loaded.set()
        await life.ready.wait()
        async with life.service.pipeline.answer(HELLO) as answer:
            life.stop.told.set()
            await until(lambda: life.service.pipeline.in_flight.is_draining)
            with pytest.raises(Draining):
                await life.service.pipeline.measure([HELLO])
            assert len([delta async for delta in answer.deltas()]) == 3
            assert life.server.is_listening
        await life.run
        assert not life.server.force_exit

    live(act)


def test_it_says_how_many_answers_it_waits_for_and_for_how_long(live: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="foveal")

    async def act(life: Life) -> None:
        life.loaded.set()
        await life.ready.wait()
        async with life.service.pipeline.answer(HELLO), life.service.pipeline.answer(HELLO):
            life.stop.told.set()
            await until(lambda: life.service.pipeline.in_flight.is_draining)
        await life.run

    live(act)
    assert "stopping: 2 answers running, at most 25 s" in caplog.text


def test_the_first_signal_tells_it_to_stop_and_the_second_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="foveal")

    async def act() -> None:
        stop = when_told_to_stop()
        for told in (stop.told, stop.hurried):
            assert not told.is_set()
            os.kill(os.getpid(), signal.SIGINT)
            await told.wait()
            assert ("stopping at once" in caplog.text) == stop.hurried.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)

    asyncio.run(act())
    assert caplog.text.count("stopping at once") == 1


def test_told_twice_it_waits_for_nobody(live: Scene) -> None:
    async def act(life: Life) -> None:
        life.loaded.set()
        await life.ready.wait()
        async with life.service.pipeline.answer(HELLO):
            life.stop.told.set()
            life.stop.hurried.set()
            await life.run
        assert life.server.force_exit

    live(act)


def test_answers_that_outlast_the_drain_end_with_an_error_before_the_server_stops(
    live: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "DRAIN_S", 0.05)

    async def act(life: Life) -> None:
        life.engine = EndlessEngine()
        life.loaded.set()
        await life.ready.wait()
        async with life.service.pipeline.answer(HELLO) as answer:
            life.stop.told.set()
            with pytest.raises(GenerationFailed, match="shutting down"):
                async for _ in answer.deltas():
                    pass
            assert life.server.is_listening
        await life.run

    live(act)


class EndlessEngine(ScriptedEngine):
    """Answers until it is closed; then its streams fail, as those of every engine do."""

    def __init__(self) -> None:
        super().__init__(lambda seed: [])
        self.is_closed = asyncio.Event()

    async def _tokens(self, tokens: list[Token]) -> AsyncIterator[Token]:
        yield Token(1)
        await self.is_closed.wait()
        raise GenerationFailed("The server is shutting down.")

    async def close(self) -> None:
        self.is_closed.set()


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("failure", [OSError("the listener died"), None])
def test_a_server_that_ends_by_itself_ends_the_run_with_an_error(
    live: Scene, failure: Exception | None, is_loaded: bool
) -> None:
    async def act(life: Life) -> None:
        await until(lambda: life.server.is_listening)
        if is_loaded:
            life.loaded.set()
            await life.ready.wait()
        life.server.failure, life.server.is_broken = failure, True
        with pytest.raises(OSError if failure else RuntimeError, match=r"the listener died|nobody had told it to"):
            await life.run

    live(act)


def test_a_model_that_cannot_be_loaded_ends_the_server_with_its_error(tmp_path: Path) -> None:
    async def act() -> bool:
        life = Life(tiny_llama(tmp_path), CheckpointError("weights are missing"))
        life.loaded.set()
        with pytest.raises(CheckpointError, match="weights are missing"):
            await life.run
        return life.server.is_listening

    assert not asyncio.run(act())
