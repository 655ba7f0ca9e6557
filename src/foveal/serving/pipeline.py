"""One whole request: images are loaded, the prompt is rendered, the engine continues it, text comes out.

The HTTP routes, the command line and the tests call the same `Pipeline.answer`. It knows nothing of JSON, sockets,
pixels or tensors. Leaving its context, however that happens, stops the engine's work and frees the images.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from foveal.accounting.accounting import Accounting
from foveal.config import PriceConfig
from foveal.conversation.detokenize import Detokenizer
from foveal.conversation.planned import Plan
from foveal.conversation.render import Renderer
from foveal.conversation.rendered import Rendered
from foveal.conversation.said import Reading
from foveal.conversation.tokenizer import Tokenizer
from foveal.engine_client.client import EngineClient
from foveal.errors import Overloaded
from foveal.media.stats import ImageStats
from foveal.serving.answer import Answer, Choice
from foveal.serving.files import with_files
from foveal.serving.in_flight import InFlight
from foveal.serving.sampling import cache_salt, client_salt, fit_to_context, sampling_for
from foveal.serving.text_turns import TextTurns
from foveal.types import (
    Caller,
    ChatRequest,
    CompletionRequest,
    Grammar,
    Image,
    ImageRef,
    Prompt,
    SamplingParams,
)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What clients may know of the served model."""

    id: str
    created: int  # Unix time, s
    context_length: int
    vocab_size: int
    supports_image_input: bool
    default_sampling: SamplingParams  # the checkpoint's generation_config.json
    aliases: tuple[str, ...] = ()
    prices: PriceConfig = field(default_factory=PriceConfig)
    owned_by: str = "foveal"
    family: str = ""  # the folder in models/ that serves it
    supports_tools: bool = False  # it was trained for them; others take them, too
    weights: str = ""  # their format in the files, and how they are served; once the model is loaded


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a request would ask of the engine."""

    prompt: Prompt
    max_tokens: int  # longest answer of each choice, after the cut to what the context leaves


@dataclass(frozen=True, slots=True)
class Vitals:
    """What metrics read of the stages."""

    images: ImageStats
    engine: EngineClient | None  # None while the model is loaded


class Images(Protocol):
    """Where images come from: `media.loader.ImageLoader`, or a fake."""

    @property
    def stats(self) -> ImageStats: ...

    def load(
        self, refs: Sequence[ImageRef], caller: Caller, salt: bytes
    ) -> AbstractAsyncContextManager[tuple[Image, ...]]: ...

    async def read_file(self, ref: ImageRef, caller: Caller, salt: bytes) -> list[str | ImageRef]:
        """What stands for a file: its text, or its pages as images. Raises FileError."""


class Grammars(Protocol):
    """What checks grammars before the engine gets them: `engine_client.grammar_check.GrammarCheck`, or a fake."""

    async def translate(self, grammar: Grammar) -> str:
        """The text that SamplingParams takes. Raises InvalidRequest or Overloaded."""


class Pipeline:
    """The stages of a request, put together once for a served model."""

    def __init__(
        self,
        card: ModelCard,
        images: Images,
        renderer: Renderer,
        tokenizer: Tokenizer,
        grammars: Grammars,
        accounting: Accounting,
        in_flight: InFlight | None = None,
    ) -> None:
        """`in_flight`: of a server with further models; by default, there is this one alone."""
        self.card = card
        self.in_flight = in_flight or InFlight()
        self.engine: EngineClient | None = None  # once the model is loaded
        self._images = images
        self._renderer = renderer
        self._tokenizer = tokenizer
        self._grammars = grammars
        self._accounting = accounting
        self._text_turns = TextTurns()

    @asynccontextmanager
    async def answer(self, request: ChatRequest | CompletionRequest) -> AsyncIterator[Answer]:
        """Accept the request and yield its running answer.

        Raises RequestError before anything is generated; GenerationFailed may also come out of `Answer.deltas`.
        """
        started_s = time.monotonic()
        async with AsyncExitStack() as running:
            engine = running.enter_context(self._taken_on())
            admitted = self._accounting.admit(request.caller, self.card.id, self.card.prices)
            bill = await running.enter_async_context(admitted)
            request, plan = await self._checked(await self._with_files_read(request))
            images = await running.enter_async_context(self._load_images(request))
            rendered = await self._render(request, images)
            num_prompt_tokens, num_choices = len(rendered.prompt.token_ids), request.options.num_choices
            sampling = sampling_for(request.options, num_prompt_tokens, self.card.context_length)
            await bill.reserve(num_prompt_tokens, sampling.max_tokens * num_choices)
            choices = [
                await running.enter_async_context(self._choice(engine, rendered, sampling, index, plan.reading))
                for index in range(num_choices)
            ]
            answer = Answer(rendered, choices, sampling.grammar, started_s)
            running.callback(lambda: bill.count(answer.outcome))  # runs first on leaving
            yield answer

    async def measure(self, requests: Sequence[ChatRequest | CompletionRequest]) -> list[Measurement]:
        """What `answer` would ask of the engine, without asking it. Raises RequestError.

        `requests`: the prompts of one request. They count as one against the limits, since images may be fetched.
        """
        admitted = self._accounting.admit(requests[0].caller, self.card.id, self.card.prices)
        with self._taken_on():
            async with admitted:
                return [await self._measure(request) for request in requests]

    @property
    def vitals(self) -> Vitals:
        """The stages' current statistics."""
        return Vitals(self._images.stats, self.engine)

    def attach(self, engine: EngineClient) -> None:
        """Answer requests with a loaded model from now on, up to the context that its KV cache holds."""
        self.engine = engine
        self.card = replace(self.card, context_length=engine.info.max_model_len, weights=engine.info.weights)

    def check_ready(self) -> EngineClient:
        """The engine, if it can be asked. Raises Overloaded."""
        self.in_flight.check_open()
        if self.engine is None:
            raise Overloaded(
                "The model is still loading; ask again soon. GET /readyz answers 200 once it can be asked."
            )
        return self.engine

    @contextmanager
    def _taken_on(self) -> Iterator[EngineClient]:
        """The engine, for a request that runs while the context is open. Raises Overloaded."""
        engine = self.check_ready()
        with self.in_flight.one_more():
            yield engine

    async def _with_files_read(self, request: ChatRequest | CompletionRequest) -> ChatRequest | CompletionRequest:
        """The request with the text or the pages of each file in its place."""
        if not isinstance(request, ChatRequest) or not (refs := request.file_refs):
            return request
        salt = client_salt(request.options, request.caller)
        parts = [await self._images.read_file(ref, request.caller, salt) for ref in refs]
        return with_files(request, parts)

    async def _checked(self, request: ChatRequest | CompletionRequest) -> tuple[ChatRequest | CompletionRequest, Plan]:
        """The request with its grammar in the engine's form. Bad ones are refused here, before images are fetched."""
        max_tokens = self.card.context_length
        self._renderer.check(request, max_tokens)
        if self._renderer.must_be_counted(request, max_tokens):
            await self._text_turns.run(request, partial(self._renderer.check_length, request, max_tokens))
        options, plan = request.options, self._renderer.plan(request)
        if plan.grammar is None:
            return request, plan
        sampling = replace(options.sampling, grammar=await self._grammars.translate(plan.grammar))
        return replace(request, options=replace(options, sampling=sampling)), plan

    def _load_images(self, request: ChatRequest | CompletionRequest) -> AbstractAsyncContextManager[tuple[Image, ...]]:
        salt = client_salt(request.options, request.caller)
        return self._images.load(request.image_refs, request.caller, salt)

    async def _render(self, request: ChatRequest | CompletionRequest, images: Sequence[Image]) -> Rendered:
        """Renders in a thread, since long requests take tens of ms, and adds what the prompt may take from caches."""
        render = partial(self._renderer.render, request, images, self.card.context_length)
        rendered = await self._text_turns.run(request, render)
        options = request.options
        prompt = replace(
            rendered.prompt,
            cache_salt=cache_salt(options, request.caller),
            max_cached_tokens=options.max_cached_tokens,
            share=request.caller.share,
        )
        return replace(rendered, prompt=prompt)

    @asynccontextmanager
    async def _choice(
        self,
        engine: EngineClient,
        rendered: Rendered,
        sampling: SamplingParams,
        index: int,
        reading: Reading | None,
    ) -> AsyncIterator[Choice]:
        """Choice `index` of an answer, with a seed of its own. Leaving stops the engine's work on it."""
        has_calls = reading is not None and reading.has_calls
        text = Detokenizer(
            self._tokenizer,
            () if has_calls else rendered.stop,  # a stop string in a call is part of it
            index=index,
            continues=rendered.continues,
            echo=rendered.echo,
            shown=reading.shown if reading else frozenset(),
        )
        async with AsyncExitStack() as generation:
            params = replace(sampling, seed=sampling.seed + index)
            tokens = await generation.enter_async_context(engine.submit(rendered.prompt, params))
            parser = reading.parser(rendered.stop if has_calls else ()) if reading else None
            yield Choice(tokens, text, generation, parser)

    async def _measure(self, request: ChatRequest | CompletionRequest) -> Measurement:
        request, _ = await self._checked(await self._with_files_read(request))
        async with self._load_images(request) as images:
            prompt = (await self._render(request, images)).prompt
            sampling = fit_to_context(request.options, len(prompt.token_ids), self.card.context_length)
            return Measurement(prompt, sampling.max_tokens)
