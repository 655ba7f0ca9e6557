"""One whole request: images are loaded, the prompt is rendered, the engine continues it, text comes out.

The HTTP routes, the command line and the tests call the same `Pipeline.answer`. It knows nothing of JSON, sockets,
pixels or tensors. Leaving its context, however that happens, stops the engine's work and frees the images.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from foveal.accounting.accounting import Accounting
from foveal.config import PriceConfig
from foveal.conversation.detokenize import Detokenizer, spelled
from foveal.conversation.render import Renderer
from foveal.conversation.tokenizer import Tokenizer
from foveal.conversation.truncate import without_oldest_turns
from foveal.engine_client.client import EngineClient
from foveal.errors import Draining, InvalidRequest, Overloaded, PromptTooLong
from foveal.media.stats import ImageStats
from foveal.serving.answer import Answer, Choice
from foveal.types import (
    Caller,
    ChatRequest,
    CompletionRequest,
    Echo,
    GenerationOptions,
    Grammar,
    Image,
    ImageRef,
    Prompt,
    SamplingParams,
    Token,
)

MAX_PROMPT_LOGPROBS = 8192  # tokens: with five alternatives each, some two megabytes of JSON

Rendered = tuple[ChatRequest | CompletionRequest, Prompt]


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


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a request would ask of the engine."""

    prompt: Prompt
    max_tokens: int  # longest answer of each choice, after the cut to what the context leaves


@dataclass(frozen=True, slots=True)
class Vitals:
    """The stages, as those who watch a server see them."""

    images: ImageStats
    engine: EngineClient | None  # None while the model is loaded


class Images(Protocol):
    """Where images come from: `images.loader.ImageLoader`, or a fake."""

    @property
    def stats(self) -> ImageStats: ...

    def load(self, refs: Sequence[ImageRef]) -> AbstractAsyncContextManager[tuple[Image, ...]]: ...


class Grammars(Protocol):
    """Who tries grammars out before they get to the engine: `engine.grammar_check.GrammarCheck`, or a fake."""

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
    ) -> None:
        self.card = card
        self.images = images
        self.renderer = renderer
        self.tokenizer = tokenizer
        self.grammars = grammars
        self.accounting = accounting
        self.engine: EngineClient | None = None  # once the model is loaded
        self._is_draining = False
        self._num_running = 0
        self._all_ended = asyncio.Event()

    @property
    def vitals(self) -> Vitals:
        """What can be measured of the stages now."""
        return Vitals(self.images.stats, self.engine)

    def check_ready(self) -> EngineClient:
        """The engine, if it can be asked. Raises Overloaded."""
        if self._is_draining:
            raise Draining("The server is stopping. Try again in a few seconds.")
        if self.engine is None:
            raise Overloaded(
                "The model is still loading; ask again soon. GET /readyz answers 200 once it can be asked."
            )
        return self.engine

    def attach(self, engine: EngineClient) -> None:
        """The model is loaded; from now on requests are answered, up to the context that its cache holds."""
        self.engine = engine
        self.card = replace(self.card, context_length=engine.info.max_model_len)

    async def drain(self, timeout_s: float) -> None:
        """Take no more requests, and wait for those that run, but no longer than `timeout_s`."""
        self._is_draining = True
        try:
            async with asyncio.timeout(timeout_s):
                while self._num_running:
                    self._all_ended.clear()
                    await self._all_ended.wait()
        except TimeoutError:
            pass  # who stops the server cuts them off

    @asynccontextmanager
    async def answer(self, request: ChatRequest | CompletionRequest) -> AsyncIterator[Answer]:
        """Accept the request and yield its running answer.

        Raises RequestError before anything is generated; GenerationFailed may also come out of `Answer.deltas`.
        """
        started_s = time.monotonic()
        async with AsyncExitStack() as running:
            engine = running.enter_context(self._running())
            bill = running.enter_context(self.accounting.admit(request.caller, self.card.id))
            request, prompt = await running.enter_async_context(self._rendered(request))
            num_choices = request.options.num_choices
            num_prompt_tokens = len(prompt.token_ids)
            sampling = fit_to_context(request.options, num_prompt_tokens, self.card.context_length)
            sampling = replace(sampling, num_prompt_logprobs=num_prompt_logprobs(request.options, num_prompt_tokens))
            bill.reserve(num_prompt_tokens, sampling.max_tokens * num_choices)
            choices = []
            for index in range(num_choices):
                generation = await running.enter_async_context(AsyncExitStack())
                params = replace(sampling, seed=sampling.seed + index)
                tokens = await generation.enter_async_context(engine.submit(prompt, params))
                choices.append(
                    Choice(tokens, self._detokenizer(request, index), generation, self._echo(request, prompt))
                )
            answer = Answer(request, prompt, choices, self.renderer, self.tokenizer, started_s)
            running.callback(lambda: bill.count(answer.outcome))  # the first thing that is done on leaving
            yield answer

    async def measure(self, requests: Sequence[ChatRequest | CompletionRequest]) -> list[Measurement]:
        """What `answer` would do, up to the engine, which is not asked. Raises RequestError.

        The prompts of one request, which counts as one: it may have images that have to be fetched.
        """
        with self._running(), self.accounting.admit(requests[0].caller, self.card.id):
            return [await self._measure(request) for request in requests]

    async def _measure(self, request: ChatRequest | CompletionRequest) -> Measurement:
        async with self._rendered(request) as (_, prompt):
            sampling = fit_to_context(request.options, len(prompt.token_ids), self.card.context_length)
            return Measurement(prompt, sampling.max_tokens)

    @contextmanager
    def _running(self) -> Iterator[EngineClient]:
        """The engine, for a request that is taken on. Raises Overloaded."""
        engine = self.check_ready()
        self._num_running += 1
        try:
            yield engine
        finally:
            self._num_running -= 1
            if self._num_running == 0:
                self._all_ended.set()

    @asynccontextmanager
    async def _rendered(self, asked: ChatRequest | CompletionRequest) -> AsyncIterator[Rendered]:
        """The request without the turns that it leaves out, and its prompt; images stay while the context is open."""
        self.renderer.check(asked)  # before any image is fetched for nothing
        asked = await self._with_grammar(asked)
        async with self.images.load(asked.image_refs) as images:
            request, prompt = await asyncio.to_thread(self._render, asked, images)
            options = request.options
            yield (
                request,
                replace(
                    prompt,
                    cache_salt=cache_salt(options, asked.caller),
                    max_cached_tokens=options.max_cached_tokens,
                ),
            )

    async def _with_grammar(self, request: ChatRequest | CompletionRequest) -> ChatRequest | CompletionRequest:
        """The request with its grammar as the engine takes it."""
        options = request.options
        if options.grammar is None:
            return request
        sampling = replace(options.sampling, grammar=await self.grammars.translate(options.grammar))
        return replace(request, options=replace(options, sampling=sampling))

    def _render(self, request: ChatRequest | CompletionRequest, images: Sequence[Image]) -> Rendered:
        if isinstance(request, ChatRequest):
            request, images = without_oldest_turns(request, images, self.renderer.render)
        return request, self.renderer.render(request, images)

    def _echo(self, request: ChatRequest | CompletionRequest, prompt: Prompt) -> Callable[[Token], Echo] | None:
        """What each answer begins with, given its first token; None for nothing."""
        options = request.options
        if not (options.echo or options.echo_last):
            return None
        shown = prompt.token_ids[-options.echo_last :]  # 0: all
        text = self._echoed_text(request, prompt, shown)

        def echo(first: Token) -> Echo:
            pairs = zip(shown, first.prompt_logprobs, strict=False)  # as many as were asked for: all of them or none
            return Echo(text, tuple(spelled(self.tokenizer, token_id, *known) for token_id, known in pairs))

        return echo

    def _echoed_text(self, request: ChatRequest | CompletionRequest, prompt: Prompt, shown: tuple[int, ...]) -> str:
        if request.options.echo_last:
            return self.tokenizer.decode(shown, continues=len(shown) < len(prompt.token_ids))
        if isinstance(request, ChatRequest):
            return "".join(part for part in self.renderer.fragments(request) if isinstance(part, str))
        return request.prompt if isinstance(request.prompt, str) else self.tokenizer.decode(request.prompt)

    def _detokenizer(self, request: ChatRequest | CompletionRequest, index: int) -> Detokenizer:
        continues = isinstance(request, CompletionRequest)
        stop = self.renderer.stop_strings(request)
        return Detokenizer(self.tokenizer, stop, index=index, continues=continues)


def fit_to_context(options: GenerationOptions, num_prompt_tokens: int, max_model_len: int) -> SamplingParams:
    """The sampling parameters with max_tokens cut to what the context leaves.

    Raises PromptTooLong where nothing is left, or where the client asked for an error instead of a cut.
    """
    room = max_model_len - num_prompt_tokens
    wanted = options.sampling.max_tokens if options.max_tokens is None else options.max_tokens
    if room < 1 or (options.when_too_long == "error" and options.max_tokens is not None and wanted > room):
        raise PromptTooLong(num_prompt_tokens, max_model_len)
    return replace(options.sampling, max_tokens=min(wanted, room))


def num_prompt_logprobs(options: GenerationOptions, num_prompt_tokens: int) -> int:
    """How many of the prompt's last tokens are to have logprobs: those of an echo, if logprobs are asked for.

    Raises InvalidRequest for more than one answer should carry.
    """
    if options.sampling.num_logprobs is None or not (options.echo or options.echo_last):
        return 0
    num_shown = min(options.echo_last or num_prompt_tokens, num_prompt_tokens)
    if num_shown > MAX_PROMPT_LOGPROBS:
        raise InvalidRequest(
            f"The logprobs of {num_shown:,} echoed tokens are asked for, and at most {MAX_PROMPT_LOGPROBS:,} can be "
            "had: set echo_last to fewer, field: 'echo_last'",
            param="echo_last",
        )
    return num_shown


def cache_salt(options: GenerationOptions, caller: Caller) -> bytes:
    """The salt of a request's prompt: for one that shares nothing, a salt that no other request can have.

    Accounts share nothing with each other, whatever isolation keys their clients choose.
    """
    if options.max_cached_tokens == 0:
        return secrets.token_bytes(32)
    if caller.account == Caller().account:
        return options.cache_salt
    return hashlib.sha256(b"account\0" + caller.account.encode() + b"\0" + options.cache_salt).digest()
