"""The server's side of every request in flight: from `submit` to its one terminal event.

Runs on the event loop. Makes the messages to an engine; does not know where the engine is (`send` does).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Self

from foveal.engine.protocol import Abort, StepDone, Submit, ToEngine
from foveal.errors import CLOSED, CutOff, GenerationFailed, InvalidRequest, Overloaded, PromptTooLong, TooManyRequests
from foveal.telemetry import Facts, Stage, note_stage
from foveal.types import EngineStats, Prompt, SamplingParams, Token

if TYPE_CHECKING:
    from foveal.types import EngineInfo

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
    begun_s: float | None = None  # when the engine began with it
    encoding_s: tuple[float, float] | None = None  # when the encoder began with its images, and when it last worked
    first_token_s: float | None = None
    ended_s: float | None = None

    @classmethod
    def of(cls, sequence_id: int, submission: Submit) -> Self:
        """A request under a new id. Tokens that another engine has produced count as read."""
        return cls(
            sequence_id,
            submission.prompt,
            submission.sampling,
            list(submission.output_token_ids),
            submission.num_cached_tokens,
            submission.mirostat_mu,
            num_read=len(submission.output_token_ids),
        )

    def submission(self) -> Submit:
        """The message that starts or resumes the request in an engine."""
        output = tuple(self.output_token_ids)
        return Submit(self.sequence_id, self.prompt, self.sampling, output, self.num_cached_tokens, self.mirostat_mu)

    @property
    def queue_s(self) -> float | None:
        return None if self.begun_s is None else self.begun_s - self.submitted_s

    def push(self, token: Token) -> None:
        if not self.output_token_ids:
            self.first_token_s = time.monotonic()
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

    def open(self, prompt: Prompt, sampling: SamplingParams) -> AbstractAsyncContextManager[Stream]:
        """See EngineClient.submit."""
        return self.resume(Submit(0, prompt, sampling))

    @asynccontextmanager
    async def resume(self, submission: Submit) -> AsyncIterator[Stream]:
        """As `open`, after the tokens that another engine has produced; they do not come again.

        Nothing is awaited on leaving, so that a cancelled caller unwinds at once.
        """
        check_request(submission.prompt, submission.sampling, self.info)
        self._check_room(submission.prompt.share)
        stream = Stream.of(next(self._ids), submission)
        self.in_flight[stream.sequence_id] = stream
        try:
            self._send(stream.submission())
            yield stream
        finally:
            if self._take_out(stream.sequence_id):
                self._send(Abort(stream.sequence_id))
            for stage in stages_of(stream):
                note_stage(stage)

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
            if stream and stream.begun_s is None:
                stream.begun_s = time.monotonic()

    def deliver(self, done: StepDone) -> None:
        """Give a step's events to their streams. Events of requests that have ended since are ignored."""
        self.stats = done.stats
        self.num_tokens += len(done.tokens)
        for encoding in done.encoded:
            if stream := self.in_flight.get(encoding.sequence_id):
                began_s, _ = stream.encoding_s or (encoding.started_s, 0)
                stream.encoding_s = began_s, encoding.ended_s
        for sequence_id, token in done.tokens:
            stream = self.in_flight.get(sequence_id)
            if stream:
                stream.push(token)
                if token.finish_reason is not None:
                    self._take_out(sequence_id)
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
        if stream := self._take_out(sequence_id):
            stream.events.put_nowait(error)

    def _take_out(self, sequence_id: int) -> Stream | None:
        """No longer in flight; None if it was not."""
        if stream := self.in_flight.pop(sequence_id, None):
            stream.ended_s = time.monotonic()
        return stream


def stages_of(stream: Stream) -> Iterator[Stage]:
    """What a stream that has ended waited for, one after the other. Text before an image counts as encoding."""
    ended_s = stream.ended_s or time.monotonic()
    yield Stage("queue", stream.submitted_s, stream.begun_s or ended_s)
    if stream.begun_s is None:
        return
    began_s, encoded_s = stream.encoding_s or (stream.begun_s, stream.begun_s)
    if stream.encoding_s:
        yield Stage("encode", began_s, encoded_s)
    prompt: Facts = {"prompt_tokens": len(stream.prompt.token_ids), "cached_tokens": stream.num_cached_tokens or 0}
    yield Stage("prefill", encoded_s, stream.first_token_s or ended_s, prompt)
    if stream.first_token_s is not None:
        yield Stage("decode", stream.first_token_s, ended_s, {"output_tokens": len(stream.output_token_ids)})


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
