"""The engine in a supervised child process, which is started again when it dies or hangs. Imports no torch.

Requests in flight are sent to the new engine as prompt and tokens so far. So streams pause, and then continue with the
same tokens. A request that is found to end the engine fails (see `quarantine`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from foveal.engine.protocol import (
    FROM_ENGINE,
    LOAD_MODEL,
    START,
    TO_ENGINE,
    FromEngine,
    LoadFailed,
    Progress,
    Ready,
    Start,
    StepDone,
    StepStarted,
    Submit,
    ToEngine,
)
from foveal.engine_client.quarantine import Quarantine
from foveal.engine_client.streams import Stream, Streams
from foveal.errors import CheckpointError, ConfigError
from foveal.workers.process import ChildProcess, Gone
from foveal.workers.spawn import INHERITED_BY_TORCH, Kind, spawn

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from foveal.arena import PixelArena
    from foveal.config import EngineConfig
    from foveal.types import EngineInfo, EngineStats, OnProgress, Prompt, SamplingParams

log = logging.getLogger(__name__)

FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 10.0  # before a restart; doubles with each start that fails
MAX_FAILED_STARTS = 5  # in a row; then requests in flight fail, and further starts are tried
QUARANTINED = "The engine died twice while it was working on this request, so it is not tried again."
NOT_RESTARTED = "The engine stopped and could not be started again; try again later."
# OpenMP's threads spin for milliseconds before they sleep. While another process is busy, they then wait for a thread
# that has no core (benchmarks/two_servers.txt). A value in the server's environment takes precedence.
_ENGINE = Kind("foveal.engine.start:serve", {"GOMP_SPINCOUNT": "3000"}, INHERITED_BY_TORCH)


class EngineProcess:
    """An EngineClient; `start` makes one, and it must be closed."""

    def __init__(self, start: Start, on_progress: OnProgress) -> None:
        self._start = start
        self._on_progress = on_progress
        self._quarantine = Quarantine()
        self._child: ChildProcess | None = None  # while it is ready for requests
        self._streams: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()  # set at the first Ready
        self._heard_s = 0.0  # event loop time of the last message, or when an idle engine got something to do
        self._is_at_work = False  # as far as its messages tell; it answers every message to it with a step
        self.num_restarts = 0
        self._end = asyncio.create_task(self._keep_running())
        self._end.add_done_callback(self._cut_off_all)

    @classmethod
    async def start(
        cls,
        folder: str,
        config: EngineConfig,
        arena: PixelArena,
        on_progress: OnProgress = lambda share: None,
        load_model: str = LOAD_MODEL,
    ) -> EngineProcess:
        """Start a process that loads the checkpoint in `folder`. Raises CheckpointError or ConfigError."""
        engine = cls(Start(folder, config, arena.fd, arena.num_bytes, load_model), on_progress)
        try:
            await engine._streams
        except BaseException:
            await engine.close()
            raise
        return engine

    @property
    def info(self) -> EngineInfo:
        return self._streams.result().info

    @property
    def stats(self) -> EngineStats:
        return self._streams.result().stats

    @property
    def num_tokens(self) -> int:
        return self._streams.result().num_tokens

    @property
    def pid(self) -> int | None:
        """The child's process id, while it is ready for requests."""
        return self._child.pid if self._child else None

    @property
    def is_ready(self) -> bool:
        """See EngineClient."""
        return self._child is not None

    def submit(self, prompt: Prompt, sampling: SamplingParams) -> AbstractAsyncContextManager[Stream]:
        """See EngineClient. While the engine is being restarted, requests are accepted and wait."""
        return self._streams.result().open(prompt, sampling)

    def resume(self, submission: Submit) -> AbstractAsyncContextManager[Stream]:
        """As `submit`, after the tokens that another engine has produced. The submission's id is not used."""
        return self._streams.result().resume(submission)

    async def close(self) -> None:
        """See EngineClient."""
        self._end.cancel()
        await asyncio.wait([self._end])

    # --- starts and restarts ------------------------------------------------------------------------------------------

    async def _keep_running(self) -> None:
        num_failed_starts = 0
        while True:
            failure = await self._live_once()
            if failure and not self._streams.done():  # it has never been ready: the operator must fix it
                self._streams.set_exception(failure)
                return
            num_failed_starts = num_failed_starts + 1 if failure else 0
            for sequence_id in self._quarantine.died():
                self._streams.result().fail(sequence_id, QUARANTINED)
            if num_failed_starts >= MAX_FAILED_STARTS:
                self._streams.result().fail_all(NOT_RESTARTED)
            await asyncio.sleep(min(FIRST_DELAY_S * 2**num_failed_starts, LONGEST_DELAY_S))

    async def _live_once(self) -> CheckpointError | ConfigError | None:
        """Run one child from start to end; returns why it never became ready, or None if it did."""
        try:
            child = spawn(_ENGINE, START.frame(self._start), [self._start.arena_fd])
        except OSError as error:
            return CheckpointError(f"the engine's process cannot be started: {error.strerror}")
        self._heard_s, self._is_at_work = asyncio.get_running_loop().time(), False
        watch = asyncio.create_task(self._watch(child))
        try:
            while True:
                self._hear(child, await child.receive(FROM_ENGINE))
        except Gone as gone:
            reason = str(gone)
        except (CheckpointError, ConfigError) as error:
            return error
        finally:
            is_hung = watch.done()
            watch.cancel()
            was_ready, self._child = self._child is not None, None
            status = await child.end()
        log.error("the engine died (exit status %d): %s", status, reason)
        if was_ready:
            return None
        if is_hung:
            timeout_s = self._start.config.load_timeout_s
            return CheckpointError(f"the engine made no progress for {timeout_s:g} s while loading the model")
        return CheckpointError(f"the engine died while loading the model (exit status {status}): is memory short?")

    async def _watch(self, child: ChildProcess) -> None:
        """Kill the child, and return, if it loads or has work, and sends no message for too long."""
        config = self._start.config
        while True:
            await asyncio.sleep(min(config.step_timeout_s, config.load_timeout_s) / 4)
            timeout_s = config.step_timeout_s if self._child else config.load_timeout_s
            silent_s = asyncio.get_running_loop().time() - self._heard_s
            is_idle = self._child and not (self._is_at_work or self._streams.result().in_flight)
            if silent_s > timeout_s and not is_idle:
                log.error("the engine has been silent for %.0f s and is killed", silent_s)
                child.kill()
                return

    # --- messages -----------------------------------------------------------------------------------------------------

    def _hear(self, child: ChildProcess, message: FromEngine) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        match message:
            case StepStarted():
                self._is_at_work = True
                self._quarantine.started(message.sequence_ids)
                self._streams.result().started(message.sequence_ids)
            case StepDone():
                self._take(message)
            case Progress() if not self._streams.done():  # only the first start is reported
                self._on_progress(message.share)
            case Ready():
                self._become_ready(child, message.info)
            case LoadFailed():
                raise ConfigError(message.message) if message.is_setting else CheckpointError(message.message)

    def _take(self, done: StepDone) -> None:
        streams = self._streams.result()
        self._is_at_work = done.stats.num_running + done.stats.num_waiting > 0
        streams.deliver(done)
        ids = {*(i for i, _ in done.tokens), *(i for i, _ in done.failed), *done.aborted}
        self._submit(self._quarantine.came_of_it(ids, streams.in_flight))

    def _become_ready(self, child: ChildProcess, info: EngineInfo) -> None:
        self._child = child
        if not self._streams.done():
            config = self._start.config
            self._streams.set_result(Streams(info, config.max_num_seqs + config.max_num_waiting, self._send))
            # a restarted engine must keep the sizes in `info`, which clients rely on
            config = replace(config, kv_cache_bytes=info.kv_cache_bytes, max_model_len=info.max_model_len)
            self._start = msgspec.structs.replace(self._start, config=config)
        else:
            self.num_restarts += 1
        self._submit(self._quarantine.restarted(self._streams.result().in_flight))

    def _submit(self, sequence_ids: Iterable[int]) -> None:
        """Send requests in flight to the child, which is ready."""
        for sequence_id in sequence_ids:
            self._tell(self._streams.result().in_flight[sequence_id].submission())

    def _send(self, message: ToEngine) -> None:
        """Send to the child if it is ready. If not, or during trials, the requests in flight are sent later."""
        if self._end.done():
            self._streams.result().cut_off_all()
        elif self._child is None or (isinstance(message, Submit) and self._quarantine.is_trying):
            return
        else:
            self._tell(message)

    def _tell(self, message: ToEngine) -> None:
        assert self._child is not None
        if not self._is_at_work:  # so its silence until now does not count
            self._heard_s, self._is_at_work = asyncio.get_running_loop().time(), True
        self._child.send(TO_ENGINE.frame(message))

    def _cut_off_all(self, end: asyncio.Task[None]) -> None:
        if not end.cancelled() and (error := end.exception()):
            log.error("the engine is no longer watched", exc_info=error)
        is_ready = self._streams.done() and not self._streams.cancelled() and not self._streams.exception()
        if is_ready:
            self._streams.result().cut_off_all()
