"""Replicas that go by a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foveal.engine.protocol import StepDone, Submit
from foveal.types import EngineInfo, Token

INFO = EngineInfo("toy", "cpu", "float32", 64, 512, 16, num_blocks=4, kv_cache_bytes=1 << 10)
Happening = Token | Exception | None  # None: a wait without end


@dataclass
class FakeReplicas:
    """Each run of a request goes by the next script, the last one again and again."""

    scripts: list[Sequence[Happening]]
    asked: list[Submit] = field(default_factory=list)
    pixels: list[list[int]] = field(default_factory=list)  # sums, of each run
    num_aborted: int = 0
    info_of_all: EngineInfo = INFO
    loaded: asyncio.Event | None = None  # set when one has loaded the model; None: from the start
    fails: Exception | None = None  # what a question about the model meets with

    async def info(self) -> EngineInfo:
        if self.loaded is not None:
            await self.loaded.wait()
        if self.fails is not None:
            raise self.fails
        return self.info_of_all

    async def run(self, submission: Submit, pixels: Sequence[NDArray[np.uint8]]) -> AsyncGenerator[StepDone, None]:
        script = self.scripts[min(len(self.asked), len(self.scripts) - 1)]
        self.asked.append(submission)
        self.pixels.append([int(array.sum()) for array in pixels])
        try:
            for happens in script:
                if isinstance(happens, Exception):
                    raise happens
                if happens is None:
                    await asyncio.Event().wait()
                else:
                    yield StepDone(((submission.sequence_id, happens),))
        except (asyncio.CancelledError, GeneratorExit):
            self.num_aborted += 1
            raise
