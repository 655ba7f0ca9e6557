"""A stream of chunks -> deltas: text, reasoning, calls, counts; and what is no such stream."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from foveal.types import Delta, TokenLogprob, ToolCallDelta
from foveal.upstream.stream import BadStream, Reader, chunks
from tests.upstream.host import DONE, counted, event, said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def read(*events: bytes, num_choices: int = 1, size: int = 1 << 16) -> tuple[list[Delta], Reader]:
    """`size`: of the pieces in which the bytes arrive."""
    reader = Reader(num_choices)

    async def pieces() -> AsyncIterator[bytes]:
        body = b"".join(events)
        for start in range(0, len(body), size):
            yield body[start : start + size]

    async def scene() -> list[Delta]:
        return [delta async for chunk in chunks(pieces()) for delta in reader.read(chunk)]

    return asyncio.run(scene()), reader


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_text_however_its_bytes_arrive(size: int) -> None:
    deltas, reader = read(
        said("", role="assistant"), said("Grüße"), said(" 🦊"), said(finish="length"), DONE, size=size
    )

    assert deltas == [Delta(0, "Grüße"), Delta(0, " 🦊"), Delta(0, finish_reason="length")]
    assert reader.has_ended


def test_comments_other_fields_and_carriage_returns_are_passed_over() -> None:
    deltas, _ = read(
        b": ping\r\n\r\nevent: message\r\nid: 7\r\n", said("a").replace(b"\n", b"\r\n"), said(finish="stop")
    )
    assert "".join(delta.text for delta in deltas) == "a"


def test_nothing_behind_done_is_read() -> None:
    deltas, _ = read(said("a", "stop"), DONE, event(b"nonsense"))
    assert deltas == [Delta(0, "a", finish_reason="stop")]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_by_both_of_its_names(field: str) -> None:
    thought: dict[str, Any] = {field: "Hm."}
    deltas, _ = read(said(None, **thought), said("Yes", "stop"))
    assert deltas == [Delta(0, reasoning="Hm."), Delta(0, "Yes", finish_reason="stop")]


def call(index: int, **parts: object) -> dict[str, object]:
    function = {key: parts[key] for key in ("name", "arguments") if key in parts}
    return {"index": index, "function": function, **({"id": parts["id"], "type": "function"} if "id" in parts else {})}


def test_calls_in_pieces() -> None:
    deltas, _ = read(
        said(tool_calls=[call(0, id="a", name="look", arguments="")]),
        said(tool_calls=[call(0, arguments='{"at":')]),
        said(tool_calls=[call(0, arguments="1}")]),
        said(tool_calls=[call(1, id="b", name="wait", arguments="{}")]),
        said(finish="tool_calls"),
    )

    parts = [part for delta in deltas for part in delta.tool_calls]
    assert parts == [
        ToolCallDelta(0, "a", "look"),
        ToolCallDelta(0, arguments='{"at":'),
        ToolCallDelta(0, arguments="1}"),
        ToolCallDelta(0, is_last=True),
        ToolCallDelta(1, "b", "wait", "{}"),
        ToolCallDelta(1, is_last=True),
    ]
    assert deltas[-1].finish_reason == "tool_calls"


def test_an_answer_with_a_call_ends_for_it_whatever_the_server_says() -> None:
    deltas, _ = read(said(tool_calls=[call(0, name="look", arguments="{}")]), said(finish="stop"))
    assert deltas[-1].finish_reason == "tool_calls"
    assert deltas[0].tool_calls[0].id


def test_calls_that_all_have_the_first_number_are_told_apart_by_their_ids() -> None:
    deltas, _ = read(
        said(tool_calls=[call(0, id="a", name="look", arguments="{}")]),
        said(tool_calls=[call(0, id="b", name="wait", arguments="{}"), call(0, id="b", arguments="")]),
        said(finish="stop"),
    )

    parts = [part for delta in deltas for part in delta.tool_calls]
    assert parts == [
        ToolCallDelta(0, "a", "look", "{}"),
        ToolCallDelta(0, is_last=True),
        ToolCallDelta(1, "b", "wait", "{}"),
        ToolCallDelta(1),
        ToolCallDelta(1, is_last=True),
    ]


def test_choices_are_told_apart() -> None:
    deltas, reader = read(said("a", index=1), said("b"), said(finish="stop", index=1), num_choices=2)
    assert [(delta.index, delta.text) for delta in deltas] == [(1, "a"), (0, "b"), (1, "")]
    assert not reader.has_ended


def test_counts_come_with_the_usage_chunk() -> None:
    _, reader = read(said("a", "stop"), counted(12, 2, cached=4), DONE)

    assert reader.counted is not None
    counts = reader.counted
    assert (counts.prompt_tokens, counts.completion_tokens, counts.cached_tokens) == (12, 2, 4)


def test_the_timings_of_llama_server_count_what_a_stream_has_taken_so_far() -> None:
    chunk = {"choices": [], "timings": {"cache_n": 5, "prompt_n": 7, "prompt_ms": 1.5, "predicted_n": 3}}
    _, reader = read(said("a"), event(chunk))

    assert reader.counted is not None
    counts = reader.counted
    assert (counts.prompt_tokens, counts.completion_tokens, counts.cached_tokens) == (12, 3, 5)


def test_pieces_are_counted_where_the_server_counts_nothing() -> None:
    _, reader = read(said("", role="assistant"), said("a"), said(None, reasoning="b"), said("c", "stop"))
    assert (reader.counted, reader.num_pieces) == (None, 3)


@pytest.mark.parametrize(
    "events",
    [
        [event(b"{half")],
        [event(b"[1]")],
        [event(b'"\xff"')],
        [event({"choices": [{"index": "0"}]})],
        [event({"error": "no memory"})],
        [said("a", index=1)],
        [said("a", "stop"), said("b")],
        [said(tool_calls=[call(1, name="look")])],
        [said(tool_calls=[call(0, arguments="{}")])],
        [said(tool_calls=[call(-1, arguments="{}")])],
        [b"data: " + b"x" * (2 << 20)],
    ],
)
def test_what_is_no_stream_of_chunks(events: list[bytes]) -> None:
    with pytest.raises(BadStream):
        read(*events)


@pytest.mark.parametrize("count", [-1, 10**30])
def test_counts_that_cannot_be(count: int) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 1}
    try:
        _, reader = read(event(json.dumps({"choices": [], "usage": usage}).encode()))
    except BadStream:
        return
    assert reader.counted is not None
    assert reader.counted.prompt_tokens == 0


def spoken(text: str, *tokens: dict[str, Any]) -> bytes:
    """A chunk with logprobs, as OpenAI's reference shows it."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": {"content": list(tokens)}, "finish_reason": None}
    return event({"choices": [choice]})


def test_logprobs_with_their_alternatives_and_with_an_id_where_it_is_told() -> None:
    top = {"token": "B", "bytes": [66], "logprob": -2.5}
    told = {"token": "A", "bytes": [65], "logprob": -0.5, "id": 7, "top_logprobs": [top]}
    deltas, _ = read(spoken("A", told), said(finish="stop"))
    assert deltas[0].logprobs == (TokenLogprob(7, "A", b"A", -0.5, (TokenLogprob(None, "B", b"B", -2.5),)),)


def test_a_token_without_text_of_its_own_yet_has_its_logprob_all_the_same() -> None:
    deltas, reader = read(spoken("", {"token": "\ufffd", "bytes": [240], "logprob": -1}), said("x", "stop"))
    assert [token.bytes for token in deltas[0].logprobs] == [b"\xf0"]
    assert reader.num_pieces == 1


@pytest.mark.parametrize("token", [{"token": "A", "bytes": [256]}, {"token": 1}, {"token": "A", "logprob": "low"}])
def test_logprobs_that_are_none_are_no_stream(token: dict[str, Any]) -> None:
    with pytest.raises(BadStream):
        read(spoken("A", token))


def test_the_text_of_a_completion() -> None:
    deltas, reader = read(event({"choices": [{"index": 0, "text": "On", "finish_reason": "length"}]}))
    assert deltas == [Delta(0, "On", finish_reason="length")]
    assert reader.num_pieces == 1
