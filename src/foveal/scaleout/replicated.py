"""An engine that is many replicas: the EngineClient of an ingress. Knows no Ray.

A request goes to one replica. If that is lost, the prompt and the tokens so far go to another one, as a supervisor
does with an engine that died. So streams pause, and then continue with the same tokens.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from contextvars import Context
from typing import TYPE_CHECKING

from foveal.engine.protocol import Abort, Submit, ToEngine
from foveal.engine_client.streams import Stream, Streams
from foveal.scaleout.messages import ReplicaLost, Replicas
from foveal.types import EngineStats

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from foveal.arena import PixelArena
    from foveal.types import EngineInfo, Prompt, SamplingParams

log = logging.getLogger(__name__)

MAX_LOSSES = 3  # replicas that may be lost in a row, none of which has added a token; it may be the request's doing
PING_S = 5.0
PAUSE_S = 0.2  # in which a cluster learns of a loss
LOST_TOO_OFTEN = f"{MAX_LOSSES} engines in a row were lost while they worked on this request; it is not tried again."
NOT_ANSWERED = "The engine could not answer this request."


class ReplicatedEngine:
    """An EngineClient; `start` makes one, and it must be closed."""

    def __init__(self, replicas: Replicas, info: EngineInfo, arena: PixelArena, max_num_in_flight: int) -> None:
        self._replicas = replicas
        self._arena = arena
        self._streams = Streams(info, max_num_in_flight, self._send)
        self._runs: dict[int, asyncio.Task[None]] = {}  # of the requests in flight
        self._is_closed = False
        self._watch = asyncio.create_task(self._ask_whether_ready())
        self.is_ready = True
        self.num_restarts = 0  # counts requests that had to go to another replica

    @classmethod
    async def start(cls, replicas: Replicas, arena: PixelArena, max_num_in_flight: int) -> ReplicatedEngine:
        """Returns when a replica has loaded the model. `arena`: where requests have their pixels."""
        return cls(replicas, await replicas.info(), arena, max_num_in_flight)

    @property
    def info(self) -> EngineInfo:
        return self._streams.info

    @property
    def stats(self) -> EngineStats:
        """Of this ingress's requests. Blocks and caches are the replicas' own."""
        num_running = sum(bool(stream.output_token_ids) for stream in self._streams.in_flight.values())
        return EngineStats(num_running, len(self._streams.in_flight) - num_running)

    @property
    def num_tokens(self) -> int:
        return self._streams.num_tokens

    def submit(self, prompt: Prompt, sampling: SamplingParams) -> AbstractAsyncContextManager[Stream]:
        """See EngineClient. Where no replica has room, requests wait."""
        return self._streams.open(prompt, sampling)

    async def close(self) -> None:
        """See EngineClient. The replicas go on."""
        self._is_closed = True
        self._streams.cut_off_all()
        tasks = [self._watch, *self._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _send(self, message: ToEngine) -> None:
        match message:
            case Submit() if self._is_closed:
                self._streams.cut_off_all()
            case Submit(sequence_id):
                stream = self._streams.in_flight[sequence_id]
                # Without the HTTP request's context, for Ray takes calls with the same one for the same call.
                self._runs[sequence_id] = asyncio.create_task(self._run(stream), context=Context())
                self._runs[sequence_id].add_done_callback(lambda _: self._runs.pop(sequence_id))
            case Abort(sequence_id) if sequence_id in self._runs:
                self._runs[sequence_id].cancel()

    async def _ask_whether_ready(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            try:
                async with asyncio.timeout(PING_S):
                    await self._replicas.info()
                self.is_ready = True
            except TimeoutError:
                self.is_ready = False
            except Exception:
                if self.is_ready:
                    log.exception("no replica tells whether it is ready")
                self.is_ready = False

    async def _run(self, stream: Stream) -> None:
        try:
            await self._run_somewhere(stream)
        except Exception:
            log.exception("a replica refused a request")
            self._streams.fail(stream.sequence_id, NOT_ANSWERED)

    async def _run_somewhere(self, stream: Stream) -> None:
        """Until its terminal event, however many replicas that takes."""
        num_losses = 0
        while num_losses < MAX_LOSSES:
            num_before = len(stream.output_token_ids)
            try:
                await self._run_once(stream)
                return
            except ReplicaLost as lost:
                log.warning("a replica was lost with a request at token %d: %s", len(stream.output_token_ids), lost)
            self.num_restarts += 1
            num_losses = num_losses + 1 if len(stream.output_token_ids) == num_before else 0
            await asyncio.sleep(PAUSE_S)
        self._streams.fail(stream.sequence_id, LOST_TOO_OFTEN)

    async def _run_once(self, stream: Stream) -> None:
        pixels = [self._arena.view(of.image.pixels) for of in stream.prompt.images]
        async with aclosing(self._replicas.run(stream.submission(), pixels)) as steps:
            async for step in steps:
                self._streams.deliver(step)
        if stream.sequence_id in self._streams.in_flight:
            raise ReplicaLost("it ended without a word")
