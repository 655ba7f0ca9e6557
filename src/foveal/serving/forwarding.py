"""A request for a model that another server runs: admitted, its images fetched, asked there, its answer counted.

As `pipeline.py`, with another server in place of a renderer and an engine. It knows nothing of sockets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Protocol

from foveal.accounting.accounting import Accounting
from foveal.config import PriceConfig, ServedConfig
from foveal.errors import InvalidRequest
from foveal.media.stats import ImageStats
from foveal.serving.files import with_files, with_images
from foveal.serving.forwarded import ForwardedAnswer
from foveal.serving.in_flight import InFlight
from foveal.serving.pipeline import Measurement, ModelCard, Vitals
from foveal.serving.sampling import cache_salt, client_salt, fit_to_context
from foveal.types import Caller, ChatRequest, CompletionRequest, ImageRef, Outcome, Prompt, SamplingParams, Usage
from foveal.upstream.body import chat_body, completion_body
from foveal.upstream.check import check
from foveal.upstream.counting import check_countable, token_ids
from foveal.upstream.stream import Chunk

BYTES_IN_A_TOKEN = 4  # a guess, where the other server has counted nothing
MAX_VOCABULARY = 1 << 20  # the ids that logit_bias may name; the other server knows its own
TOKENS_BESIDE_TEXT = 16  # at most, that a template adds to a message

Asked = ChatRequest | CompletionRequest


class Images(Protocol):
    """Where images come from: `media.passed_on.PassedOn`, or a fake."""

    @property
    def stats(self) -> ImageStats: ...

    async def passed_on(self, refs: Sequence[ImageRef], caller: Caller, salt: bytes) -> list[ImageRef]: ...

    async def read_file(self, ref: ImageRef, caller: Caller, salt: bytes) -> list[str | ImageRef]: ...


class Elsewhere(Protocol):
    """The other server: `upstream.client.Upstream`, or a fake."""

    def stream(self, path: str, body: bytes) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]: ...

    async def ask(self, path: str, body: bytes) -> bytes: ...


class Forwarding:
    """What answers for one model that another server runs."""

    def __init__(
        self,
        config: ServedConfig,
        prices: PriceConfig,
        images: Images,
        elsewhere: Elsewhere,
        accounting: Accounting,
        in_flight: InFlight,
    ) -> None:
        """`in_flight`: the running requests that a server waits for when it stops."""
        self.card = _card(config, prices)
        self._config = config
        self._name = config.upstream.model or config.name  # there
        self._images = images
        self._elsewhere = elsewhere
        self._accounting = accounting
        self._in_flight = in_flight

    @property
    def vitals(self) -> Vitals:
        return Vitals(self._images.stats, None)

    def check_ready(self) -> None:
        """Raises Draining. Whether the other server lives, its first request tells."""
        self._in_flight.check_open()

    @asynccontextmanager
    async def answer(self, request: Asked) -> AsyncIterator[ForwardedAnswer]:
        """The running answer, once its first piece is there.

        Raises RequestError until then; GenerationFailed may also come out of `ForwardedAnswer.deltas`.
        """
        started_s = time.monotonic()
        async with AsyncExitStack() as running:
            running.enter_context(self._in_flight.one_more())
            admitted = self._accounting.admit(request.caller, self.card.id, self.card.prices)
            bill = await running.enter_async_context(admitted)
            asked = await self._with_bytes(self._checked(request))
            most = asked.options.sampling.max_tokens * asked.options.num_choices
            await bill.reserve(self._most_prompt_tokens(asked), most)
            guess, (path, body) = self._guess(asked), await self._written(asked)
            try:
                chunks = await running.enter_async_context(self._elsewhere.stream(path, body))
            except asyncio.CancelledError:  # the other server may have read all of the prompt by now
                bill.count(Outcome(Usage(guess, 0, guess, 0, 0), "aborted", None, time.monotonic() - started_s))
                raise
            answer = ForwardedAnswer(chunks, asked.options.num_choices, guess, started_s)
            running.callback(lambda: bill.count(answer.outcome))  # runs first on leaving
            yield answer

    async def measure(self, requests: Sequence[ChatRequest | CompletionRequest]) -> list[Measurement]:
        """What the other server would make of each prompt, without images. They count as one request."""
        for request in requests:
            check_countable(request, self._config.upstream.dialect)
        admitted = self._accounting.admit(requests[0].caller, self.card.id, self.card.prices)
        with self._in_flight.one_more():
            async with admitted:
                return [await self._measure(self._checked(request)) for request in requests]

    async def _measure(self, request: Asked) -> Measurement:
        upstream = self._config.upstream
        found = await token_ids(self._elsewhere.ask, request, self._name, upstream.dialect)
        sampling = fit_to_context(request.options, len(found), self.card.context_length)
        return Measurement(Prompt(found), sampling.max_tokens)

    def _checked(self, request: Asked) -> Asked:
        check(request, self._config.upstream.dialect)
        if request.image_refs and not self._config.takes_images:
            raise InvalidRequest("This model takes text alone.", param="messages")
        options, room = request.options, self.card.context_length
        sampling = replace(options.sampling, max_tokens=min(options.max_tokens or options.sampling.max_tokens, room))
        return replace(request, options=replace(options, sampling=sampling))

    async def _with_bytes(self, request: Asked) -> Asked:
        """The request with its files read, and with images whose bytes are there."""
        if not isinstance(request, ChatRequest):
            return request
        salt = client_salt(request.options, request.caller)
        if refs := request.file_refs:
            request = with_files(request, [await self._images.read_file(ref, request.caller, salt) for ref in refs])
        if not (images := request.image_refs):
            return request
        return with_images(request, await self._images.passed_on(images, request.caller, salt))

    async def _written(self, request: Asked) -> tuple[str, bytes]:
        """The path and the body of what the other server is asked."""
        dialect, salt = self._config.upstream.dialect, cache_salt(request.options, request.caller)
        if isinstance(request, ChatRequest):
            return "/chat/completions", await asyncio.to_thread(chat_body, request, self._name, dialect, salt)
        return "/completions", completion_body(request, self._name, dialect, salt)

    def _most_prompt_tokens(self, request: Asked) -> int:
        """A token has a byte at least."""
        num_parts = len(request.messages) + len(request.tools) if isinstance(request, ChatRequest) else 1
        at_most = _num_bytes(request) + TOKENS_BESIDE_TEXT * num_parts + self._image_tokens(request)
        return min(self.card.context_length, at_most)

    def _guess(self, request: Asked) -> int:
        """Tokens of a prompt that the other server has not counted."""
        return _num_bytes(request) // BYTES_IN_A_TOKEN + self._image_tokens(request)

    def _image_tokens(self, request: Asked) -> int:
        return self._config.image_tokens * len(request.image_refs)


def _num_bytes(request: Asked) -> int:
    """Of a prompt. One of token ids is taken for four bytes a token."""
    if isinstance(request, CompletionRequest) and not isinstance(request.prompt, str):
        return BYTES_IN_A_TOKEN * len(request.prompt)
    return sum(len(text.encode()) for text in request.texts)


def _card(config: ServedConfig, prices: PriceConfig) -> ModelCard:
    return ModelCard(
        id=config.name,
        created=int(time.time()),
        context_length=config.context_length,
        vocab_size=MAX_VOCABULARY,
        supports_image_input=config.takes_images,
        supports_tools=True,  # as far as anybody knows here
        default_sampling=SamplingParams(),
        aliases=config.aliases,
        prices=prices,
        family="upstream",
    )
