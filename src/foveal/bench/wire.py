"""OpenAI's chat completions as bytes: the body of a request, the events of a streamed answer, an error's words.

Pure functions, without a clock or a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from foveal.bench.records import Conversation, Workload

MAX_WORDS_LENGTH = 120  # of an error's words; enough to tell kinds apart
NO_TEXT = "(no answer)"  # stands for an empty answer in later turns; some servers refuse empty messages
DONE = b"[DONE]"


class Read(NamedTuple):
    """Bytes of an answer, and when they arrived."""

    at_s: float
    data: bytes


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None  # vLLM, llama.cpp
    reasoning: str | None = None  # others


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class Event(NamedTuple):
    """The content of one chunk."""

    at_s: float
    content: str = ""  # of the answer
    reasoning: str = ""  # before it; output tokens, but not part of the next turn's messages
    finish_reason: str | None = None
    usage: Usage | None = None
    error: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def chat_body(workload: Workload, model: str, conversation: Conversation, answers: Sequence[str]) -> bytes:
    """The conversation up to its next question, as JSON. Sampling is greedy, so that runs are alike."""
    body: dict[str, object] = {
        "model": model,
        "messages": _messages(conversation, answers),
        "max_tokens": workload.max_tokens,
        "temperature": 0,
        "stream": True,
    }
    if workload.asks_usage:
        body["stream_options"] = {"include_usage": True}
    if workload.ignore_eos:
        body["ignore_eos"] = True
    return msgspec.json.encode(body)


def _messages(conversation: Conversation, answers: Sequence[str]) -> list[dict[str, object]]:
    first, *later = conversation.questions
    images = [{"type": "image_url", "image_url": {"url": url}} for url in conversation.images]
    content = [*images, {"type": "text", "text": first}] if images else first
    messages: list[dict[str, object]] = [{"role": "user", "content": content}]
    for answer, question in zip(answers, later, strict=False):
        messages.append({"role": "assistant", "content": answer or NO_TEXT})
        messages.append({"role": "user", "content": question})
    return messages


def events(reads: Sequence[Read]) -> Iterator[Event]:
    """The events of a stream, each with the time of the read that completed its line. Comments are skipped."""
    for at_s, line in _lines(reads):
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data == DONE:
                return
            yield _event(at_s, data)


def words_of(body: bytes) -> str:
    """The message of an error body, in any dialect, cut to a length at which kinds of errors can be counted."""
    try:
        said: object = msgspec.json.decode(body)
    except msgspec.DecodeError:
        said = body.decode("utf-8", "replace")
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    text = " ".join((said if isinstance(said, str) else msgspec.json.encode(said).decode()).split())
    return text if len(text) <= MAX_WORDS_LENGTH else text[: MAX_WORDS_LENGTH - 3] + "..."


def _lines(reads: Sequence[Read]) -> Iterator[tuple[float, bytes]]:
    rest = b""
    for at_s, data in reads:
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield at_s, line
    if rest and reads:
        yield reads[-1].at_s, rest


def _event(at_s: float, data: bytes) -> Event:
    try:
        chunk = _decode_chunk(data)
    except msgspec.DecodeError:
        return Event(at_s, error=f"an event that is no chat completion: {words_of(data)}")
    if bytes(chunk.error) not in (b"", b"null"):
        return Event(at_s, error=words_of(data))
    if not chunk.choices:
        return Event(at_s, usage=chunk.usage)
    choice = chunk.choices[0]
    delta = choice.delta or _Delta()
    reasoning = delta.reasoning_content or delta.reasoning or ""
    return Event(at_s, delta.content or "", reasoning, choice.finish_reason, chunk.usage)
