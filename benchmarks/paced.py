"""An engine that sleeps where another computes, so that what is around it is measured on a machine with few cores.

It has a prefix cache and a cache of encoded images, both bounded. Prompts are computed one after the other, and images
before them. Answers go at a constant pace beside that. What it answers means nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.engine.kv_cache import block_hash, root_hash
from foveal.engine.protocol import StepDone, Submit
from foveal.engine.sequence import SpanSource
from foveal.scaleout.messages import encode, read_submission
from foveal.scaleout.router import CACHE_TOKENS
from foveal.types import EngineInfo, Prompt, Token

if TYPE_CHECKING:
    from foveal.config import Config
    from foveal.scaleout.affinity import Demand

BLOCK = 16  # tokens
FIRST_ANSWER_TOKEN, NUM_ANSWER_TOKENS = 100, 64  # ids, in turn


@dataclass(frozen=True, slots=True)
class Pace:
    """About that of a model of some billion weights on a GPU."""

    token_s: float = 0.0002  # of a prompt
    crop_s: float = 0.03
    step_s: float = 0.02  # for each token of an answer, however many answers there are
    tokens_per_message: int = 1
    max_num_seqs: int = 16
    cache_tokens: int = 32768  # prompts' and images'


class Kept:
    """What a cache has, by key: the most recent, up to a number of tokens."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._num_tokens = 0
        self._kept: OrderedDict[bytes, int] = OrderedDict()

    def has(self, key: bytes) -> bool:
        if key in self._kept:
            self._kept.move_to_end(key)
        return key in self._kept

    def keep(self, key: bytes, num_tokens: int) -> None:
        self._num_tokens += num_tokens - self._kept.pop(key, 0)
        self._kept[key] = num_tokens
        while self._num_tokens > self._max_tokens:
            self._num_tokens -= self._kept.popitem(last=False)[1]


class PacedEngine:
    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._slots = asyncio.Semaphore(pace.max_num_seqs)
        self._is_computing = asyncio.Lock()
        self._blocks = Kept(pace.cache_tokens)
        self._images = Kept(pace.cache_tokens)

    async def run(self, submission: Submit) -> AsyncGenerator[list[Token], None]:
        pace, num_tokens = self._pace, submission.sampling.max_tokens
        async with self._slots:
            async with self._is_computing:
                num_cached = await self._computed(submission.prompt)
            for start in range(0, num_tokens, pace.tokens_per_message):
                stop = min(start + pace.tokens_per_message, num_tokens)
                await asyncio.sleep((stop - start) * pace.step_s)
                yield [
                    Token(
                        FIRST_ANSWER_TOKEN + number % NUM_ANSWER_TOKENS,
                        "length" if number + 1 == num_tokens else None,
                        num_cached_tokens=num_cached,
                    )
                    for number in range(start, stop)
                ]

    async def _computed(self, prompt: Prompt) -> int:
        """Compute a prompt. Returns how many of its tokens were in the cache."""
        blocks = list(_chain(prompt))
        num_cached = BLOCK * next((i for i, key in enumerate(blocks) if not self._blocks.has(key)), len(blocks))
        crops = [of for of in prompt.images if of.spans[-1].end > num_cached and not self._images.has(of.image.hash)]
        num_crops = sum(of.image.layout.num_crops for of in crops)
        num_missing = len(prompt.token_ids) - num_cached
        await asyncio.sleep(num_crops * self._pace.crop_s + num_missing * self._pace.token_s)
        for of in prompt.images:
            self._images.keep(of.image.hash, of.num_prompt_tokens)
        for key in reversed(blocks):
            self._blocks.keep(key, BLOCK)
        return num_cached


def _chain(prompt: Prompt) -> Iterator[bytes]:
    """The hashes of a prompt's full blocks, without the last token's, as an engine has them."""
    key = root_hash(prompt.cache_salt, 0)
    spans = [SpanSource(span, 0, of.image.hash) for of in prompt.images for span in of.spans]
    for start in range(0, len(prompt.token_ids) - BLOCK, BLOCK):
        stop = start + BLOCK
        sources = [source for source in spans if source.span.offset < stop and source.span.end > start]
        key = block_hash(key, prompt.token_ids[start:stop], start, sources)
        yield key


class PacedDeployment:
    """For `application`, in the place of EngineDeployment."""

    pace = Pace()

    def __init__(self, config: Config) -> None:
        self._engine = PacedEngine(self.pace)

    async def info(self) -> bytes:
        num_blocks = self.pace.cache_tokens // BLOCK
        return encode(EngineInfo("paced", "cpu", "float32", 1024, 8192, BLOCK, num_blocks, kv_cache_bytes=1))

    def record_replica_metadata(self) -> dict[str, int]:
        return {CACHE_TOKENS: self.pace.cache_tokens}

    async def run(self, submission: bytes, pixels: Sequence[object], demand: Demand) -> AsyncGenerator[bytes, None]:
        asked = read_submission(submission)
        async for tokens in self._engine.run(asked):
            yield encode(StepDone(tuple((asked.sequence_id, token) for token in tokens)))
