"""Bytes of an event stream -> chunks -> deltas. Knows no sockets. What is untrusted is bounded and checked here."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec

from foveal.types import Delta, TokenLogprob, ToolCallDelta, Usage

if TYPE_CHECKING:
    from foveal.types import FinishReason

MAX_EVENT_BYTES = 1 << 20
MAX_CALLS = 128  # of a choice
FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "stop",
}


class BadStream(Exception):
    """It is no stream of chat completion chunks."""


class SaidFunction(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class SaidCall(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: SaidFunction | None = None


class Said(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # what some servers call it
    tool_calls: list[SaidCall] | None = None


class SaidTop(msgspec.Struct):
    token: str
    logprob: float | None = None  # None, of some servers: minus infinity
    bytes: list[int] | None = None
    id: int | None = None  # of some servers

    def read(self, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        """Raises BadStream."""
        try:
            spelt = self.token.encode() if self.bytes is None else bytes(self.bytes)
        except ValueError as error:
            raise BadStream(f"a token is no text: {error}") from None
        return TokenLogprob(self.id, self.token, spelt, -math.inf if self.logprob is None else self.logprob, top)


class SaidToken(SaidTop):
    top_logprobs: list[SaidTop] = []

    @property
    def with_top(self) -> TokenLogprob:
        return self.read(tuple(top.read() for top in self.top_logprobs))


class SaidLogprobs(msgspec.Struct):
    content: list[SaidToken] | None = None


class SaidChoice(msgspec.Struct):
    index: int = 0
    delta: Said = msgspec.field(default_factory=Said)
    text: str | None = None  # of completions
    logprobs: SaidLogprobs | None = None
    finish_reason: str | None = None

    @property
    def is_piece(self) -> bool:
        """It has a part of the answer."""
        said = self.delta
        return bool(said.content or self.text or said.reasoning_content or said.reasoning or said.tool_calls)

    @property
    def says_something(self) -> bool:
        return self.is_piece or bool(self.tokens or self.finish_reason)

    @property
    def tokens(self) -> list[SaidToken]:
        return (self.logprobs and self.logprobs.content) or []


Count = Annotated[int, msgspec.Meta(le=1 << 40)]  # more is no number of tokens, and would overflow where it is kept


class OfPrompt(msgspec.Struct):
    cached_tokens: Count | None = None


class OfCompletion(msgspec.Struct):
    reasoning_tokens: Count | None = None


class Counted(msgspec.Struct):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    prompt_tokens_details: OfPrompt | None = None
    completion_tokens_details: OfCompletion | None = None

    @property
    def usage(self) -> Usage:
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        return _usage(
            self.prompt_tokens,
            self.completion_tokens,
            (prompt and prompt.cached_tokens) or 0,
            (completion and completion.reasoning_tokens) or 0,
        )


class Timings(msgspec.Struct):
    """llama-server's counts, of one choice."""

    cache_n: Count = 0
    prompt_n: Count = 0
    predicted_n: Count = 0

    @property
    def usage(self) -> Usage:
        return _usage(self.cache_n + self.prompt_n, self.predicted_n, self.cache_n)


class Chunk(msgspec.Struct):
    """One event. Fields that are not named here are of no interest."""

    choices: list[SaidChoice] = []
    usage: Counted | None = None
    timings: Timings | None = None
    error: object = None

    @property
    def counted(self) -> Usage | None:
        """The counts so far, where the server tells them."""
        counts = self.usage or self.timings
        return counts.usage if counts else None

    @property
    def says_something(self) -> bool:
        return any(choice.says_something for choice in self.choices)


_CHUNKS = msgspec.json.Decoder(Chunk)


async def chunks(pieces: AsyncIterator[bytes]) -> AsyncGenerator[Chunk]:
    """The chunks of a body, up to [DONE] or its end. Raises BadStream."""
    async for line in _lines(pieces):
        if not line.startswith(b"data:"):
            continue  # a comment, which keeps a connection alive, or a field that no chat API uses
        data = line[len(b"data:") :].strip()
        if data == b"[DONE]":
            return
        yield _chunk(data)


def _chunk(data: bytes) -> Chunk:
    try:
        chunk = _CHUNKS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadStream(f"an event is no chunk: {error}") from None
    if chunk.error is not None:
        raise BadStream(f"it says: {str(chunk.error)[:500]}")
    return chunk


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for piece in pieces:
        rest += piece
        *lines, tail = rest.split(b"\n")
        rest = bytearray(tail)
        if len(rest) > MAX_EVENT_BYTES:
            raise BadStream(f"an event has more than {MAX_EVENT_BYTES:,} bytes")
        for line in lines:
            yield bytes(line)
    if rest:
        yield bytes(rest)


class Reader:
    """The deltas of one stream, with its counts so far."""

    def __init__(self, num_choices: int) -> None:
        self.counted: Usage | None = None  # as the server told last
        self.num_pieces = 0  # of text, of reasoning, of calls: about as many as tokens
        self._running = set(range(num_choices))
        self._calls: dict[int, list[ToolCallDelta]] = {index: [] for index in self._running}

    @property
    def has_ended(self) -> bool:
        """All choices have their finish reason."""
        return not self._running

    def read(self, chunk: Chunk) -> Iterator[Delta]:
        """Raises BadStream."""
        self.counted = chunk.counted or self.counted
        for choice in chunk.choices:
            if choice.says_something and choice.index not in self._running:
                raise BadStream(f"choice {choice.index} was not asked for, or has ended")
            if choice.says_something:
                yield self._delta(choice)

    def _delta(self, choice: SaidChoice) -> Delta:
        said, reason = choice.delta, choice.finish_reason
        self.num_pieces += choice.is_piece
        calls = [part for call in said.tool_calls or () for part in self._call(choice.index, call)]
        if reason is not None:
            self._running.discard(choice.index)
            calls += self._end(choice.index)
        if reason == "stop" and self._calls[choice.index]:
            reason = "tool_calls"  # as some servers forget to say
        return Delta(
            choice.index,
            said.content or choice.text or "",
            tuple(token.with_top for token in choice.tokens),
            finish_reason=None if reason is None else FINISH.get(reason, "stop"),
            reasoning=said.reasoning_content or said.reasoning or "",
            tool_calls=tuple(calls),
        )

    def _call(self, choice: int, said: SaidCall) -> Iterator[ToolCallDelta]:
        """The parts of a call. One that begins ends the one before. Some servers give all of them the first number."""
        begun, function = self._calls[choice], said.function or SaidFunction()
        number, running_id = len(begun), begun[-1].id if begun else None
        is_next = said.index == number or (running_id and said.id and said.id != running_id)
        if is_next and function.name and number < MAX_CALLS:
            yield from self._end(choice)
            call = ToolCallDelta(number, said.id or f"call_{choice}_{number}", function.name)
            begun.append(call)
            yield ToolCallDelta(call.index, call.id, call.name, function.arguments or "")
        elif begun and (said.index == number - 1 or said.id == running_id):
            yield ToolCallDelta(number - 1, arguments=function.arguments or "")
        else:
            raise BadStream(f"call {said.index} is out of turn")

    def _end(self, choice: int) -> Sequence[ToolCallDelta]:
        begun = self._calls[choice]
        return [ToolCallDelta(begun[-1].index, is_last=True)] if begun else []


def _usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int, reasoning_tokens: int = 0) -> Usage:
    """Which tokens are those of images the other server does not tell."""
    return Usage(
        prompt_tokens=max(0, prompt_tokens),
        image_tokens=0,
        text_tokens=max(0, prompt_tokens),
        cached_tokens=min(max(0, cached_tokens), max(0, prompt_tokens)),
        completion_tokens=max(0, completion_tokens),
        reasoning_tokens=max(0, reasoning_tokens),
    )
