"""Ollama's API over HTTP: what is asked of the model, the lines of an answer, the models, the errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from foveal import __version__
from foveal.config import HttpConfig
from foveal.errors import GenerationFailed, ImageError
from foveal.types import (
    ChatRequest,
    CompletionRequest,
    Delta,
    Grammar,
    ImageRef,
    Message,
    Reasoning,
    Tool,
    ToolCall,
    ToolCallDelta,
)
from tests.fakes import FakePipeline
from tests.http.client import call

if TYPE_CHECKING:
    import httpx

HI: dict[str, Any] = {"role": "user", "content": "Hi"}
ASK: dict[str, Any] = {"model": "foveal-mini", "messages": [HI]}
LOOK: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALLS: dict[str, Any] = {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": {"at": 1}}}]}


def chat(pipeline: FakePipeline | None = None, **fields: Any) -> httpx.Response:
    return call("POST", "/api/chat", pipeline, json=ASK | fields)


def generate(pipeline: FakePipeline | None = None, **fields: Any) -> httpx.Response:
    return call("POST", "/api/generate", pipeline, json={"model": "foveal-mini"} | fields)


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]


def asked(**fields: Any) -> ChatRequest:
    pipeline = FakePipeline()
    response = chat(pipeline, **fields)
    assert response.status_code == 200, response.text
    request = pipeline.requests[0]
    assert isinstance(request, ChatRequest)
    return request


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["foveal-mini", "foveal-mini:latest"])
def test_a_chat_is_lines_unless_they_are_not_wanted(name: str) -> None:
    response = chat(model=name)
    assert response.headers["content-type"] == "application/x-ndjson"
    *pieces, end = lines(response)
    assert [line["message"] for line in pieces] == [
        {"role": "assistant", "content": "Hel"},
        {"role": "assistant", "content": "lo"},
    ]
    assert [line["done"] for line in pieces] == [False, False]
    assert (end["model"], end["done"], end["done_reason"], end["message"]["content"]) == (name, True, "stop", "")
    assert (end["prompt_eval_count"], end["eval_count"], end["total_duration"]) == (12, 2, 250_000_000)
    assert end["prompt_eval_duration"] == end["eval_duration"] == 125_000_000
    whole = chat(model=name, stream=False).json()
    assert whole | {"created_at": ""} == end | {
        "created_at": "",
        "message": {"role": "assistant", "content": "Hello"},
    }


def test_a_generation_is_text() -> None:
    *pieces, end = lines(generate(prompt="Hi"))
    assert [line["response"] for line in pieces] == ["Hel", "lo"]
    assert (end["response"], end["done"]) == ("", True)
    assert generate(prompt="Hi", stream=False).json()["response"] == "Hello"


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_and_calls(stream: bool) -> None:
    script = (
        Delta(0, reasoning="hm"),
        Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "look", '{"at"'),)),
        Delta(0, finish_reason="tool_calls", tool_calls=(ToolCallDelta(0, arguments=": 1}", is_last=True),)),
    )
    response = chat(FakePipeline(script), stream=stream)
    said = lines(response)
    assert "".join(line["message"].get("thinking", "") for line in said) == "hm"
    assert [called for line in said for called in line["message"].get("tool_calls", [])] == [
        {"id": "call_1", "function": {"name": "look", "arguments": {"at": 1}}}
    ]
    assert said[-1]["done_reason"] == "stop"


@pytest.mark.parametrize("arguments", ['{"at": "i', '{"at": ' + "[" * 5000])
def test_a_call_that_max_tokens_cut_has_no_arguments(arguments: str) -> None:
    cut = (Delta(0, tool_calls=(ToolCallDelta(0, "c", "look", arguments),)), Delta(0, finish_reason="length"))
    (called,) = chat(FakePipeline(cut), stream=False).json()["message"]["tool_calls"]
    assert called["function"] == {"name": "look", "arguments": {}}


@pytest.mark.parametrize(("path", "field"), [("/api/chat", "message"), ("/api/generate", "response")])
def test_nothing_asked_is_answered_at_once(path: str, field: str) -> None:
    pipeline = FakePipeline()
    reply = call("POST", path, pipeline, json={"model": "foveal-mini"}).json()
    assert (reply["done"], reply["done_reason"], field in reply) == (True, "load", True)
    assert pipeline.requests == []


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_messages_with_images_before_their_text() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?", "images": ["QUJD"]}]
    assert asked(messages=messages).messages == (
        Message("system", ("Be brief.",)),
        Message("user", (ImageRef("QUJD", 1), "What?")),
    )


@pytest.mark.parametrize(
    ("last", "continues"),
    [
        ({"role": "user", "content": "Why?"}, False),
        ({"role": "assistant", "content": "Because"}, True),
        (CALLS, False),
    ],
)
def test_the_assistants_last_message_is_gone_on_with(last: dict[str, Any], continues: bool) -> None:
    assert asked(messages=[HI, last]).continues == continues


def test_results_of_tools_find_their_calls() -> None:
    result = {"role": "tool", "content": "it", "tool_name": "look"}
    request = asked(messages=[HI, CALLS, result], tools=[LOOK], think="low")
    assert request.messages[1:] == (
        Message("assistant", (), tool_calls=(ToolCall("call_1", "look", '{"at": 1}'),)),
        Message("tool", ("it",), "look", tool_call_id="call_1"),
    )
    assert request.tools == (Tool("look", "", '{"type": "object"}'),)
    assert request.reasoning == Reasoning(True, "low")


@pytest.mark.parametrize(
    ("options", "setting", "expected"),
    [
        ({"temperature": 0}, "temperature", 0.0),
        ({"top_k": 200}, "top_k", 200),
        ({"repeat_penalty": 1.1}, "repetition_penalty", 1.1),
        ({"num_predict": 5}, "max_tokens", 5),
        ({"num_predict": -1}, "max_tokens", 2048),
        ({"mirostat": 2, "mirostat_tau": 3}, "mirostat_target", 3.0),
        ({"mirostat": 0, "mirostat_tau": 3}, "mirostat_target", None),
        ({"seed": 7, "num_ctx": 4096, "num_gpu": 1, "use_mmap": True}, "seed", 7),
    ],
)
def test_an_option(options: dict[str, Any], setting: str, expected: float | None) -> None:
    assert getattr(asked(options=options).options.sampling, setting) == expected


def test_a_format_is_a_grammar() -> None:
    assert asked(format="json").options.grammar == Grammar("json_schema", '{"type":"object"}')
    assert asked(format={"type": "array"}).options.grammar == Grammar(
        "json_schema", '{"type":"array"}', source="This format"
    )
    assert asked(format="").options.grammar is None


def test_a_generation_is_one_turn_or_a_raw_prompt() -> None:
    pipeline = FakePipeline()
    generate(pipeline, prompt="What?", system="Be brief.", images=["QUJD"])
    generate(pipeline, prompt="<|user|>", raw=True)
    turn, raw = pipeline.requests
    assert isinstance(turn, ChatRequest)
    assert turn.messages == (Message("system", ("Be brief.",)), Message("user", (ImageRef("QUJD", 1), "What?")))
    assert isinstance(raw, CompletionRequest)
    assert raw.prompt == "<|user|>"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"messages": [{"role": "tool", "content": "x", "tool_name": "look"}]}, "messages"),
        ({"options": {"mirostat": 1}}, "options.mirostat"),
        ({"format": "xml"}, "format"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_refused_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    response = chat(**fields)
    assert response.status_code == 400
    assert f"field: '{field}" in response.json()["error"]


# --- errors and models ------------------------------------------------------------------------------------------------


def test_errors_are_one_sentence() -> None:
    assert chat(model="other").json() == {"error": "Model not found, inaccessible, and/or not deployed"}
    assert chat(FakePipeline(refusal=ImageError(1, "no"))).json() == {"error": "image 1: no"}
    assert call("POST", "/api/chat", config=HttpConfig(api_keys=("k",)), json=ASK).status_code == 401
    broken = lines(chat(FakePipeline([Delta(0, "a"), GenerationFailed("it broke")])))
    assert broken[-1] == {"error": "it broke"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"content-type": "application/x-www-form-urlencoded"}, 200),  # as curl says it
        ({"content-type": "text/plain", "origin": "https://x.example"}, 400),
        ({"sec-fetch-site": "cross-site"}, 400),
    ],
)
def test_a_body_may_lack_its_type_unless_a_web_page_sends_it(headers: dict[str, str], status: int) -> None:
    assert call("POST", "/api/chat", content=json.dumps(ASK), headers=headers).status_code == status


def test_the_models() -> None:
    (listed,) = call("GET", "/api/tags").json()["models"]
    assert (listed["name"], listed["modified_at"]) == ("foveal-mini:latest", "2023-11-14T22:13:20.000000Z")
    (loaded,) = call("GET", "/api/ps").json()["models"]
    assert loaded["context_length"] == 1024
    assert call("GET", "/api/version").json() == {"version": __version__}


def test_what_a_model_can_do() -> None:
    shown = call("POST", "/api/show", json={"model": "foveal-mini:latest"}).json()
    assert shown["capabilities"] == ["completion", "tools", "vision"]
    assert shown["model_info"]["foveal.context_length"] == 1024


@pytest.mark.parametrize(("method", "name"), [("POST", "pull"), ("DELETE", "delete"), ("POST", "embed")])
def test_what_is_not_done_is_said(method: str, name: str) -> None:
    response = call(method, f"/api/{name}")
    assert response.status_code == 404
    assert "This server" in response.json()["error"] or "this server" in response.json()["error"]
