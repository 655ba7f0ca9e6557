"""Messages over HTTP: the reply, the events, the errors and the keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from foveal.config import HttpConfig
from foveal.errors import GenerationFailed, ImageError, Overloaded, SpendingLimitReached, TooManyRequests
from foveal.http.dialects import sse
from foveal.types import Caller, ChatRequest, Delta, ToolCallDelta
from tests.fakes import FakePipeline
from tests.http.client import call, named_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

ASK: dict[str, Any] = {"model": "foveal-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
KEYS = HttpConfig(api_keys=("secret",))
USAGE = {
    "input_tokens": 8,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 4,
    "output_tokens": 2,
    "output_tokens_details": {"thinking_tokens": 0},
}
THOUGHTS_AND_CALLS = (
    Delta(0, reasoning="h"),
    Delta(0, "I look.", reasoning="m"),
    Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "look", '{"at"'),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments=': "it"}', is_last=True), ToolCallDelta(1, "call_2", "wait"))),
    Delta(0, finish_reason="tool_calls", tool_calls=(ToolCallDelta(1, arguments="{}", is_last=True),)),
)


def ask(pipeline: FakePipeline | None = None, path: str = "/v1/messages", **fields: Any) -> httpx.Response:
    return call("POST", path, pipeline, json=ASK | fields)


@pytest.mark.parametrize("path", ["/v1/messages", "/inference/v1/messages"])
def test_a_message(path: str) -> None:
    pipeline = FakePipeline()
    response = ask(pipeline, path)
    request_id = response.headers["x-request-id"]
    assert response.json() == {
        "id": f"msg_{request_id}",
        "type": "message",
        "role": "assistant",
        "model": "foveal-mini",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }
    assert response.headers["request-id"] == request_id
    assert isinstance(pipeline.requests[0], ChatRequest)
    assert pipeline.requests[0].caller == Caller(request_id)


def test_a_stream() -> None:
    events = named_events(ask(stream=True))
    assert all(name == payload["type"] for name, payload in events)
    payloads = [payload for _, payload in events]
    assert payloads[0]["message"]["content"] == []
    assert payloads[0]["message"]["stop_reason"] is None
    assert payloads[1:] == [
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": USAGE},
        {"type": "message_stop"},
    ]


def test_thinking_and_calls_are_blocks() -> None:
    response = ask(FakePipeline(THOUGHTS_AND_CALLS)).json()
    assert response["stop_reason"] == "tool_use"
    assert response["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "it"}},
        {"type": "tool_use", "id": "call_2", "name": "wait", "input": {}},
    ]


def test_thinking_can_be_left_out() -> None:
    response = ask(FakePipeline(THOUGHTS_AND_CALLS), thinking={"type": "adaptive", "display": "omitted"}).json()
    assert response["content"][0] == {"type": "thinking", "thinking": "", "signature": ""}


def test_streamed_blocks_give_the_same_as_the_whole() -> None:
    events = [payload for _, payload in named_events(ask(FakePipeline(THOUGHTS_AND_CALLS), stream=True))]
    opened = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    closed = [event["index"] for event in events if event["type"] == "content_block_stop"]
    pieces: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_delta":
            (piece,) = [value for name, value in event["delta"].items() if name != "type"]
            pieces[event["index"]] = pieces.get(event["index"], "") + piece
    assert opened == ["thinking", "text", "tool_use", "tool_use"]
    assert closed == [0, 1, 2, 3]
    assert pieces == {0: "hm", 1: "I look.", 2: '{"at": "it"}', 3: "{}"}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("last", "stop_reason", "stop_sequence"),
    [
        (Delta(0, finish_reason="stop"), "end_turn", None),
        (Delta(0, finish_reason="length"), "max_tokens", None),
        (Delta(0, finish_reason="stop", stop="END"), "stop_sequence", "END"),
        (Delta(0, finish_reason="stop", stop="USER:"), "end_turn", None),  # the model's own
    ],
)
def test_why_it_stopped(last: Delta, stop_reason: str, stop_sequence: str | None) -> None:
    reply = ask(FakePipeline((Delta(0, "a"), last)), stop_sequences=["END"]).json()
    assert (reply["stop_reason"], reply["stop_sequence"]) == (stop_reason, stop_sequence)


@pytest.mark.parametrize("arguments", ['{"at": "i', '{"at": ' + "[" * 5000])
def test_a_call_that_max_tokens_cut_has_no_input(arguments: str) -> None:
    cut = (Delta(0, tool_calls=(ToolCallDelta(0, "c", "look", arguments),)), Delta(0, finish_reason="length"))
    reply = ask(FakePipeline(cut)).json()
    assert (reply["content"][0]["input"], reply["stop_reason"]) == ({}, "max_tokens")


def test_tokens_are_counted_without_an_answer() -> None:
    pipeline = FakePipeline()
    response = call("POST", "/v1/messages/count_tokens", pipeline, json={k: ASK[k] for k in ("model", "messages")})
    assert response.json() == {"input_tokens": 3}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("pipeline", "status", "kind"),
    [
        (FakePipeline(refusal=ImageError(1, "it is no picture")), 400, "invalid_request_error"),
        (FakePipeline(refusal=SpendingLimitReached("spent")), 402, "billing_error"),
        (FakePipeline(refusal=TooManyRequests("not now", 7)), 429, "rate_limit_error"),
        (FakePipeline(refusal=Overloaded("full")), 529, "overloaded_error"),
        (FakePipeline([GenerationFailed("it broke")]), 500, "api_error"),
    ],
)
def test_an_error(pipeline: FakePipeline, status: int, kind: str, stream: bool) -> None:
    response = ask(pipeline, stream=stream)
    assert response.status_code == status
    assert response.json()["type"] == "error"
    assert response.json()["error"]["type"] == kind
    assert response.headers.get("retry-after") == {429: "7", 529: "1"}.get(status)


def test_an_error_in_a_stream_is_its_last_event() -> None:
    events = named_events(ask(FakePipeline([Delta(0, "a"), GenerationFailed("it broke")]), stream=True))
    assert events[-1] == ("error", {"type": "error", "error": {"type": "api_error", "message": "it broke"}})


@pytest.mark.parametrize(
    ("config", "fields", "status", "kind"),
    [
        (KEYS, {}, 401, "authentication_error"),
        (HttpConfig(), {"model": "other"}, 404, "not_found_error"),
        (HttpConfig(max_body_bytes=1000), {"system": "x" * 2000}, 413, "request_too_large"),
    ],
)
def test_what_is_refused_before_it_is_asked(config: HttpConfig, fields: dict[str, Any], status: int, kind: str) -> None:
    response = call("POST", "/v1/messages", config=config, json=ASK | fields)
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)


@pytest.mark.parametrize("headers", [{"x-api-key": "secret"}, {"authorization": "Bearer secret"}])
def test_the_key_comes_in_either_header(headers: dict[str, str]) -> None:
    response = call(
        "POST", "/v1/messages", config=KEYS, json=ASK, headers=headers | {"anthropic-version": "2023-06-01"}
    )
    assert response.status_code == 200


def test_a_stream_that_pauses_has_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "PING_S", 0.001)
    goes_on = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        yield "first"
        await goes_on.wait()
        yield "last"

    async def read() -> list[str]:
        seen = []
        async for event in sse.kept_alive(events(), "ping"):
            seen.append(event)
            if event == "ping":
                goes_on.set()
        return seen

    seen = asyncio.run(read())
    assert (seen[0], seen[-1], set(seen[1:-1])) == ("first", "last", {"ping"})


def test_one_task_reads_the_events_of_a_stream() -> None:
    async def events() -> AsyncIterator[asyncio.Task[Any] | None]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield asyncio.current_task()

    async def readers() -> set[asyncio.Task[Any] | None]:
        return {task async for task in sse.kept_alive(events(), None)}

    assert len(asyncio.run(readers())) == 1
