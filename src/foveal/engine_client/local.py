"""The engine in a thread of this process: for `foveal ask` and for tests. Imports torch when it is started."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING

from foveal.engine.loop import EngineLoop
from foveal.engine.protocol import LOAD_MODEL, Close, FromEngine, StepDone, StepStarted, ToEngine
from foveal.engine_client.streams import Stream, Streams

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from foveal.arena import PixelArena
    from foveal.config import EngineConfig
    from foveal.engine.engine import Engine
    from foveal.types import EngineInfo, EngineStats, OnProgress, Prompt, SamplingParams

log = logging.getLogger(__name__)

STOPPED = "The engine has stopped."


class LocalEngine:
    """An EngineClient; `start` makes one, and it must be closed. Nothing restarts the engine if it dies."""

    def __init__(self, engine: Engine, info: EngineInfo, config: EngineConfig, thread: ThreadPoolExecutor) -> None:
        self.engine = engine  # used by its thread alone while a request is in flight
        self._thread = thread
        self._inbox: SimpleQueue[ToEngine] = SimpleQueue()
        self._streams = Streams(info, config.max_num_seqs + config.max_num_waiting, self._send)
        self._event_loop = asyncio.get_running_loop()
        loop = EngineLoop(engine, self._inbox, self._tell)
        self._end = self._event_loop.run_in_executor(thread, loop.run)
        self._end.add_done_callback(self._fail_all)

    @classmethod
    async def start(
        cls,
        folder: str,
        config: EngineConfig,
        arena: PixelArena,
        on_progress: OnProgress = lambda share: None,
        load_model: str = LOAD_MODEL,
    ) -> LocalEngine:
        """Load the checkpoint in `folder`. Raises CheckpointError or ConfigError."""
        from foveal.engine.loading import load_engine

        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="foveal-engine")
        event_loop = asyncio.get_running_loop()

        def tell_progress(share: float) -> None:
            event_loop.call_soon_threadsafe(on_progress, share)

        loading = event_loop.run_in_executor(thread, load_engine, folder, config, arena, load_model, tell_progress)
        engine, info = await loading
        return cls(engine, info, config, thread)

    @property
    def info(self) -> EngineInfo:
        return self._streams.info

    @property
    def stats(self) -> EngineStats:
        return self._streams.stats

    @property
    def num_tokens(self) -> int:
        return self._streams.num_tokens

    @property
    def is_ready(self) -> bool:
        return not self._end.done()

    @property
    def num_restarts(self) -> int:
        return 0

    def submit(self, prompt: Prompt, sampling: SamplingParams) -> AbstractAsyncContextManager[Stream]:
        """See EngineClient."""
        return self._streams.open(prompt, sampling)

    async def close(self) -> None:
        """See EngineClient."""
        self._inbox.put(Close())
        await asyncio.wait([self._end])
        self._thread.shutdown()

    def _send(self, message: ToEngine) -> None:
        if self._end.done():
            self._streams.fail_all(STOPPED)
        else:
            self._inbox.put(message)

    def _tell(self, message: FromEngine) -> None:
        """Called in the engine's thread."""
        if isinstance(message, StepDone):
            self._event_loop.call_soon_threadsafe(self._streams.deliver, message)
        elif isinstance(message, StepStarted):
            self._event_loop.call_soon_threadsafe(self._streams.started, message.sequence_ids)

    def _fail_all(self, end: asyncio.Future[None]) -> None:
        if error := end.exception():
            log.error("the engine died", exc_info=error)
        self._streams.fail_all(STOPPED)
