"""The server's side of every request in flight: from `submit` to its one terminal event.

Runs on the event loop. Makes the messages to an engine; does not know where the engine is (`send` does).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Self

from foveal.engine.protocol import Abort, StepDone, Submit, ToEngine
from foveal.errors import CutOff, GenerationFailed, InvalidRequest, Overloaded, PromptTooLong, TooManyRequests
from foveal.types import EngineStats, Prompt, SamplingParams, Token

if TYPE_CHECKING:
    from foveal.types import EngineInfo

CLOSED = "The server is shutting down."
MIN_REPETITION_PENALTY = 0.01  # logits are divided by it: a much smaller number would make them overflow


@dataclass(slots=True, eq=False)
class Stream:
    """One request in flight and its tokens so far: enough to resume it in another engine."""

    sequence_id: int
    prompt: Prompt
    sampling: SamplingParams
    output_token_ids: list[int] = field(default_factory=list)
    num_cached_tokens: int | None = None
    mirostat_mu: float | None = None
    events: asyncio.Queue[Token | GenerationFailed] = field(default_factory=asyncio.Queue)
    num_read: int = 0
    has_ended: bool = False  # for its reader
    submitted_s: float = field(default_factory=time.monotonic)
    queue_s: float | None = None  # until the engine began with it

    def submission(self) -> Submit:
        """The message that starts or resumes the request in an engine."""
        output = tuple(self.output_token_ids)
        return Submit(self.sequence_id, self.prompt, self.sampling, output, self.num_cached_tokens, self.mirostat_mu)

    def push(self, token: Token) -> None:
        self.output_token_ids.append(token.token_id)
        self.num_cached_tokens = token.num_cached_tokens
        self.mirostat_mu = token.mirostat_mu
        self.events.put_nowait(token)

    @property
    def num_unread(self) -> int:
        return len(self.output_token_ids) - self.num_read

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Token:
        """Raises GenerationFailed."""
        if self.has_ended:
            raise StopAsyncIteration
        event = await self.events.get()
        if isinstance(event, GenerationFailed):
            self.has_ended = True
            raise event
        self.num_read += 1
        self.has_ended = event.finish_reason is not None
        return event


class Streams:
    """The requests in flight, by id; ids ascend in order of arrival."""

    def __init__(self, info: EngineInfo, max_num_in_flight: int, send: Callable[[ToEngine], None]) -> None:
        self.info = info
        self.max_num_in_flight = max_num_in_flight
        self.in_flight: dict[int, Stream] = {}
        self.stats = EngineStats()
        self.num_tokens = 0  # that were generated
        self._send = send
        self._ids = count(1)

    @asynccontextmanager
    async def open(self, prompt: Prompt, sampling: SamplingParams) -> AsyncIterator[Stream]:
        """See EngineClient.submit. Nothing is awaited on leaving, so that a cancelled caller unwinds at once."""
        check_request(prompt, sampling, self.info)
        self._check_room(prompt.share)
        stream = Stream(next(self._ids), prompt, sampling)
        self.in_flight[stream.sequence_id] = stream
        try:
            self._send(stream.submission())
            yield stream
        finally:
            if self.in_flight.pop(stream.sequence_id, None):
                self._send(Abort(stream.sequence_id))

    def _check_room(self, share: str) -> None:
        """A caller has no more in flight than is left free for others: half, or a third where two do so."""
        num_free = self.max_num_in_flight - len(self.in_flight)
        num_own = sum(stream.prompt.share == share for stream in self.in_flight.values()) if share else 0
        if num_own and num_own >= num_free:
            raise TooManyRequests("Too many of your requests wait for the model; ask again when some have ended.", 1.0)
        if num_free <= 0:
            raise Overloaded("The server has all the requests that it can take; try again in a moment.")

    def started(self, sequence_ids: Sequence[int]) -> None:
        """Note when the engine first works on each of them."""
        for sequence_id in sequence_ids:
            stream = self.in_flight.get(sequence_id)
            if stream and stream.queue_s is None:
                stream.queue_s = time.monotonic() - stream.submitted_s

    def deliver(self, done: StepDone) -> None:
        """Give a step's events to their streams. Events of requests that have ended since are ignored."""
        self.stats = done.stats
        self.num_tokens += len(done.tokens)
        for sequence_id, token in done.tokens:
            stream = self.in_flight.get(sequence_id)
            if stream:
                stream.push(token)
                if token.finish_reason is not None:
                    del self.in_flight[sequence_id]
        for sequence_id, why in done.failed:
            self.fail(sequence_id, why)

    def fail(self, sequence_id: int, why: str) -> None:
        """End a request, if it is still in flight, with GenerationFailed."""
        self._end(sequence_id, GenerationFailed(why))

    def fail_all(self, why: str) -> None:
        for sequence_id in list(self.in_flight):
            self.fail(sequence_id, why)

    def cut_off_all(self) -> None:
        """End all with CutOff: the server stops."""
        for sequence_id in list(self.in_flight):
            self._end(sequence_id, CutOff(CLOSED))

    def _end(self, sequence_id: int, error: GenerationFailed) -> None:
        stream = self.in_flight.pop(sequence_id, None)
        if stream:
            stream.events.put_nowait(error)


def check_request(prompt: Prompt, sampling: SamplingParams, info: EngineInfo) -> None:
    """Raise PromptTooLong or InvalidRequest for a request that this engine cannot run."""
    num_tokens = len(prompt.token_ids)
    if num_tokens == 0:
        raise InvalidRequest("The prompt is empty.", param="prompt")
    if num_tokens >= info.max_model_len:
        raise PromptTooLong(num_tokens, info.max_model_len)
    if not all(0 <= token_id < info.vocab_size for token_id in _outside_images(prompt)):
        raise InvalidRequest(f"Token ids must be from 0 to {info.vocab_size - 1}.", param="prompt")
    if sampling.max_tokens < 1:
        raise InvalidRequest("max_tokens must be at least 1.", param="max_tokens")
    if sampling.repetition_penalty < MIN_REPETITION_PENALTY:
        raise InvalidRequest(
            f"repetition_penalty must be at least {MIN_REPETITION_PENALTY}.", param="repetition_penalty"
        )
    if not all(0 <= token_id < info.vocab_size for token_id, _ in sampling.logit_bias):
        raise InvalidRequest(f"logit_bias takes token ids from 0 to {info.vocab_size - 1}.", param="logit_bias")


def _outside_images(prompt: Prompt) -> Iterator[int]:
    """The token ids outside image spans. Those inside may lie beyond the vocabulary (Llama 3.2 Vision's does)."""
    start = 0
    for image in prompt.images:
        for span in image.spans:
            yield from prompt.token_ids[start : span.offset]
            start = span.end
    yield from prompt.token_ids[start:]
