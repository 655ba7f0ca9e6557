"""Fakes that several test folders share."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foveal.accounting.accounting import Accounting
from foveal.engine_client.client import EngineClient
from foveal.errors import Overloaded
from foveal.media.stats import ImageStats
from foveal.serving.pipeline import Measurement, ModelCard, Vitals
from foveal.types import ChatRequest, CompletionRequest, Delta, Prompt, SamplingParams, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

CARD = ModelCard(
    id="foveal-mini",
    created=1_700_000_000,
    context_length=1024,
    vocab_size=500,
    supports_image_input=True,
    default_sampling=SamplingParams(temperature=0.5, top_p=0.9),
    aliases=("accounts/me/models/eyes",),
    family="phi3_v",
    weights="bfloat16, served as int8",
)
USAGE = Usage(prompt_tokens=12, image_tokens=9, text_tokens=3, cached_tokens=4, completion_tokens=2)
MEASUREMENT = Measurement(Prompt((1, 2, 3)), max_tokens=5)
HELLO = (Delta(0, "Hel"), Delta(0, "lo"), Delta(0, finish_reason="stop"))


@dataclass
class FakePipeline:
    """Answers every request with the same script: pieces, errors, and None for a wait without end."""

    script: Sequence[Delta | Exception | None] = HELLO
    refusal: Exception | None = None  # raised on entering
    usage: Usage = USAGE
    card: ModelCard = CARD
    is_ready: bool = True
    requests: list[ChatRequest | CompletionRequest] = field(default_factory=list)
    measurement: Measurement = MEASUREMENT
    answered: list[ChatRequest | CompletionRequest] = field(default_factory=list)  # those that were not only measured
    warnings: tuple[str, ...] = ()
    num_running: int = 0
    engine: EngineClient | None = None
    accounting: Accounting = field(default_factory=Accounting)  # admits, before anything else is done

    @asynccontextmanager
    async def answer(self, request: ChatRequest | CompletionRequest) -> AsyncIterator[FakeAnswer]:
        self.requests.append(request)
        self.answered.append(request)
        if self.refusal is not None:
            raise self.refusal
        async with self.accounting.admit(request.caller, self.card.id):
            self.num_running += 1
            try:
                yield FakeAnswer(self.script, self.usage, warnings=self.warnings)
            finally:
                await asyncio.sleep(0)  # leaving takes a moment, as it does in the engine
                self.num_running -= 1

    @property
    def vitals(self) -> Vitals:
        return Vitals(ImageStats(), self.engine)

    def check_ready(self) -> None:
        if not self.is_ready:
            raise Overloaded("The model is still loading.")

    async def measure(self, requests: Sequence[ChatRequest | CompletionRequest]) -> list[Measurement]:
        self.requests += requests
        if self.refusal is not None:
            raise self.refusal
        return [self.measurement for _ in requests]


@dataclass
class FakeAnswer:
    script: Sequence[Delta | Exception | None]
    usage: Usage
    first_token_s: float | None = None
    queue_s: float | None = 0.0625
    total_s: float = 0.25
    warnings: tuple[str, ...] = ()
    prompt_token_ids: tuple[int, ...] = (1, 2, 3)
    grammar: str | None = None

    def prompt_fragments(self) -> list[str | int]:
        return [1, "Hi"]

    def spell(self, token_ids: Iterable[int]) -> str:
        return "".join(f"<{token_id}>" for token_id in token_ids)

    async def deltas(self) -> AsyncIterator[Delta]:
        for step in self.script:
            if isinstance(step, Exception):
                raise step
            if step is None:
                await asyncio.Event().wait()
            else:
                await asyncio.sleep(0)  # others have their turn, as between the tokens of an engine
                self.first_token_s = 0.125
                yield step
