"""A served model from start to end: built for one checkpoint, loaded, run until the process is told to stop, closed.

What is cheap comes first (settings, tokenizer, image workers), so that a server can listen while its engine loads.
Imports no torch and no web framework: the engine's class and the server are passed in.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from foveal.accounting.accounting import Accounting
from foveal.arena import PixelArena
from foveal.config import Config, EngineConfig
from foveal.conversation.choose import renderer_of
from foveal.conversation.render import Renderer
from foveal.conversation.tokenizer import load_tokenizer
from foveal.engine_client.client import EngineClient
from foveal.engine_client.grammar_check import GrammarCheck
from foveal.errors import InvalidRequest
from foveal.media.loader import ImageLoader
from foveal.media.stats import ImageStats
from foveal.models.checkpoint import Checkpoint
from foveal.models.registry import described, family_of, load_processor
from foveal.serving.in_flight import InFlight
from foveal.serving.pipeline import ModelCard, Pipeline
from foveal.types import Caller, Image, ImageRef, OnProgress, SamplingParams
from foveal.workers.memory import give_back

if TYPE_CHECKING:
    import socket

log = logging.getLogger(__name__)

DRAIN_S = 25  # for the running answers when a server is told to stop; new requests get a 503 meanwhile

StartEngine = Callable[[str, EngineConfig, PixelArena, OnProgress], Awaitable[EngineClient]]
"""`LocalEngine.start` or `EngineProcess.start`."""


class Server(Protocol):
    """What answers connections: `http.server.Server`, or a fake."""

    should_exit: bool  # set: it stops when current responses are sent
    force_exit: bool  # at once

    async def serve(self, sockets: list[socket.socket] | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Stop:
    """Set when the process is told to stop, and when it is told a second time: then running answers are cut off."""

    told: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)


def when_told_to_stop() -> Stop:
    """A `Stop` that SIGINT and SIGTERM set from now on."""
    stop = Stop()

    def tell() -> None:
        if stop.told.is_set() and not stop.hurried.is_set():
            log.info("stopping at once")
        (stop.hurried if stop.told.is_set() else stop.told).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, tell)
    return stop


async def run(
    server: Server,
    listener: socket.socket,
    load: Callable[[], Coroutine[Any, Any, None]],
    in_flight: InFlight,
    stop: Stop,
) -> None:
    """Listen at once, load what is served, answer until told to stop; then finish running answers, and stop listening.

    `load` is cancelled where the process is told to stop meanwhile. Raises what `load` raises, and what ends a server
    that nobody told to stop.
    """
    listening = asyncio.create_task(server.serve(sockets=[listener]))
    listening.add_done_callback(lambda _: stop.told.set())  # nobody could reach what waited on
    try:
        await _unless(stop.told, load())
        give_back()
        await stop.told.wait()
        if listening.done():
            raise RuntimeError("the server ended, and nobody had told it to") from listening.exception()
    finally:
        if num_running := in_flight.num_running:
            streams = "1 answer" if num_running == 1 else f"{num_running} answers"
            log.info("stopping: %s running, at most %g s; Ctrl-C again stops at once", streams, DRAIN_S)
        await _unless(stop.hurried, in_flight.drain(DRAIN_S))
        await _unless(stop.hurried, in_flight.cut())
        server.should_exit, server.force_exit = True, stop.hurried.is_set()
        await listening


async def _unless(stopped: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or as much of it as is done when the process is told to stop."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stopped.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        working.result()  # raises
        return
    working.cancel()
    await asyncio.wait([working])


class Service:
    """The pipeline of one checkpoint, with what has to be closed afterwards. Make it on the event loop."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        accounting: Accounting | None = None,
        arena: PixelArena | None = None,
        in_flight: InFlight | None = None,
    ) -> None:
        """Builds everything but the engine. Several services may share an `accounting`, which their caller closes, and
        an `in_flight`.

        The default accounting has the configured limits and prices, and stores nothing. arena: where the engine finds
        pixels, if there is an engine already. Raises CheckpointError or ConfigError.
        """
        checkpoint = Checkpoint.read(folder)
        processor = load_processor(folder)
        if (found := described(processor)) is not None:
            checkpoint = replace(checkpoint, config=found.config)
        tokenizer = load_tokenizer(folder)
        renderer = renderer_of(checkpoint.model_type, config.model.conversation, folder, tokenizer, processor)
        self._config = config
        self._folder = folder
        self._arena = arena or PixelArena.create(config.images.arena_bytes)
        self._images = ImageLoader(config.images, processor, self._arena, folder) if processor else NoImages()
        card = _card(config, checkpoint, renderer, supports_image_input=processor is not None)
        self._grammars = GrammarCheck(folder, bounds=config.schemas)
        self.accounting = accounting or Accounting(config.limits, config.prices)
        self.pipeline = Pipeline(card, self._images, renderer, tokenizer, self._grammars, self.accounting, in_flight)
        self.pipeline.in_flight.cut_by(self._stop_engine)

    async def start(self, start_engine: StartEngine, on_progress: OnProgress = lambda share: None) -> EngineClient:
        """Load the model. From then on the pipeline answers. Raises CheckpointError or ConfigError."""
        engine = await start_engine(str(self._folder), self._config.engine, self._arena, on_progress)
        self.pipeline.attach(engine)
        return engine

    async def close(self) -> None:
        """Stop the engine and the image workers. Requests in flight fail, and are accounted for."""
        await self._stop_engine()
        await self._grammars.close()
        await self._images.close()

    async def _stop_engine(self) -> None:
        if self.pipeline.engine is not None:
            await self.pipeline.engine.close()


class NoImages:
    """The image loader of a text model: the renderer has refused every request with images."""

    stats = ImageStats()

    @asynccontextmanager
    async def load(self, refs: Sequence[ImageRef], caller: Caller, salt: bytes) -> AsyncIterator[tuple[Image, ...]]:
        assert not refs
        yield ()

    async def read_file(self, ref: ImageRef, caller: Caller, salt: bytes) -> list[str | ImageRef]:
        raise InvalidRequest("This model takes text alone: send a file's text in a message.", param="files")

    async def close(self) -> None:
        """There is nothing to close."""


def _card(config: Config, checkpoint: Checkpoint, renderer: Renderer, *, supports_image_input: bool) -> ModelCard:
    return ModelCard(
        id=model_id(config),
        family=family_of(checkpoint),
        created=int(time.time()),
        context_length=config.engine.max_model_len or checkpoint.context_length,
        vocab_size=checkpoint.vocab_size,
        supports_image_input=supports_image_input,
        supports_tools=renderer.supports_tools,
        default_sampling=default_sampling(checkpoint, renderer.stop_token_ids),
        aliases=config.model.aliases,
        prices=config.prices,
    )


def model_id(config: Config) -> str:
    """The id that clients use: as configured, or the hub id, or the name of the folder or of the GGUF file."""
    path = config.model.path
    if Path(path).is_file():
        return config.model.name or Path(path).stem
    return config.model.name or (Path(path).resolve().name if Path(path).is_dir() else path)


def default_sampling(checkpoint: Checkpoint, stop_token_ids: tuple[int, ...]) -> SamplingParams:
    """The settings of generation_config.json. By default, temperature 1 and nothing is cut off."""
    asked = {key: value for key, value in checkpoint.generation_config.items() if value is not None}
    is_greedy = asked.get("do_sample") is False
    return SamplingParams(
        temperature=0.0 if is_greedy else asked.get("temperature", 1.0),
        top_k=asked.get("top_k", 0),
        top_p=asked.get("top_p", 1.0),
        min_p=asked.get("min_p", 0.0),
        repetition_penalty=asked.get("repetition_penalty", 1.0),
        stop_token_ids=tuple(dict.fromkeys((*checkpoint.eos_token_ids, *stop_token_ids))),
    )
