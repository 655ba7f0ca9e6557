"""A replica: an engine process with its supervisor, and the pixels of the requests that it runs. Knows no Ray.

It keeps pixels as a server does, so an image that comes again is not written twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.arena import PixelArena
from foveal.config import Config
from foveal.engine.protocol import LOAD_MODEL, StepDone, Submit
from foveal.engine_client.supervisor import EngineProcess
from foveal.errors import GenerationFailed
from foveal.media.cache import EncodedImage, PixelCache
from foveal.models.hub import local_folder
from foveal.scaleout.messages import encode, read_submission

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from foveal.types import EngineInfo, Image

MAX_WAIT_FOR_ROOM_S = 30.0
UNLIMITED = 1 << 30  # requests: the ingress and the cluster's router bound them


class EngineReplica:
    """`start` makes one, and it must be closed."""

    def __init__(self, engine: EngineProcess, arena: PixelArena) -> None:
        self._engine = engine
        self._arena = arena
        self._pixels = PixelCache(arena.num_bytes, self._write, MAX_WAIT_FOR_ROOM_S)
        self.num_waiting_tokens = 0  # work (affinity.Demand) of requests without a first token

    @classmethod
    async def start(cls, config: Config, load_model: str = LOAD_MODEL) -> EngineReplica:
        """Download the model where it has to be, and load it. Raises CheckpointError or ConfigError."""
        model = config.model
        folder = await asyncio.to_thread(local_folder, model.path, model.revision, vision=model.mmproj)
        arena = PixelArena.create(config.images.arena_bytes)
        settings = replace(config.engine, max_num_waiting=UNLIMITED)
        return cls(await EngineProcess.start(str(folder), settings, arena, load_model=load_model), arena)

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    async def close(self) -> None:
        """Stop the engine. Requests in flight end with an error."""
        await self._engine.close()
        await self._pixels.close()

    async def run(
        self, submission: bytes, pixels: Sequence[Awaitable[NDArray[np.uint8]]], num_work_tokens: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Continue a request. Each item is a StepDone with the tokens since the last one.

        pixels: those of the prompt's images, one after the other. Leaving aborts the request.
        """
        asked = read_submission(submission)
        with self._waiting(num_work_tokens) as waiting:
            async with self._with_pixels(asked, pixels) as here, self._engine.resume(here) as stream:
                try:
                    while not stream.has_ended:
                        tokens = [await anext(stream)]
                        while stream.num_unread:
                            tokens.append(await anext(stream))
                        waiting.close()
                        yield encode(StepDone(tuple((asked.sequence_id, token) for token in tokens)))
                except GenerationFailed as failed:
                    yield encode(StepDone(failed=((asked.sequence_id, failed.message),)))

    def _waiting(self, num_tokens: int) -> ExitStack:
        """Work that counts as waiting until the stack is closed."""

        def end() -> None:
            self.num_waiting_tokens -= num_tokens

        self.num_waiting_tokens += num_tokens
        waiting = ExitStack()
        waiting.callback(end)
        return waiting

    @asynccontextmanager
    async def _with_pixels(
        self, submission: Submit, pixels: Sequence[Awaitable[NDArray[np.uint8]]]
    ) -> AsyncIterator[Submit]:
        """The submission with its images in this replica's arena, where they stay while the context is open."""
        sent = [
            EncodedImage(of.image.hash, (await array).tobytes(), of.image.layout)
            for of, array in zip(submission.prompt.images, pixels, strict=True)
        ]
        entries = await self._pixels.pin(sent)
        try:
            await asyncio.gather(*(asyncio.shield(entry.written) for entry in entries))
            images = zip(submission.prompt.images, entries, strict=True)
            here = tuple(replace(of, image=entry.image) for of, entry in images)
            yield Submit(
                0,
                replace(submission.prompt, images=here),
                submission.sampling,
                submission.output_token_ids,
                submission.num_cached_tokens,
                submission.mirostat_mu,
            )
        finally:
            self._pixels.unpin(entries)

    async def _write(self, sent: EncodedImage, place: Image) -> None:
        self._arena.view(place.pixels).reshape(-1).data[:] = sent.encoded
