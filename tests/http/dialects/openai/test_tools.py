"""Tools and reasoning on OpenAI's wire: what a request says, and answers with calls, whole and streamed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from foveal.types import Delta, Message, Reasoning, Tool, ToolCall, ToolCallDelta, ToolChoice
from tests.fakes import USAGE, FakePipeline
from tests.http.client import ASK, chat, error, events

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "description": "Of a city.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}, {"type": "function", "function": {"name": "now"}}]
NAMED = {"type": "function", "function": {"name": "now"}}
CALLED = (
    Delta(0, "Let me see."),
    Delta(0, tool_calls=(ToolCallDelta(0, "call_a", "get_weather"),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments='{"city": '),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments='"Paris"}', is_last=True),)),
    Delta(0, tool_calls=(ToolCallDelta(1, "call_b", "now", "{}", is_last=True),)),
    Delta(0, finish_reason="tool_calls"),
)
PARIS = {
    "id": "call_a",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
NOW = {"id": "call_b", "type": "function", "function": {"name": "now", "arguments": "{}"}}


def asked(**fields: Any) -> Any:
    """The request that reaches the model."""
    pipeline = FakePipeline()
    response = chat(pipeline, **fields)
    assert response.status_code == 200, response.text
    return pipeline.requests[0]


# --- requests ---------------------------------------------------------------------------------------------------------


def test_tools_come_with_their_schemas() -> None:
    weather, now = asked(tools=TOOLS).tools

    assert (weather.name, weather.description, weather.is_strict) == ("get_weather", "Of a city.", False)
    assert '"required": ["city"]' in weather.parameters
    assert now == Tool("now", "", '{"type": "object", "properties": {}}')  # it takes no arguments


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ToolChoice()),
        ({"tool_choice": "none"}, ToolChoice("none")),
        ({"tool_choice": "required"}, ToolChoice("required")),
        ({"tool_choice": "any"}, ToolChoice("required")),
        ({"tool_choice": NAMED}, ToolChoice("required", ("now",), parallel=False)),
        ({"parallel_tool_calls": False}, ToolChoice(parallel=False)),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}},
            ToolChoice("auto", ("now",)),
        ),
    ],
)
def test_the_choice_among_tools(fields: dict[str, Any], expected: ToolChoice) -> None:
    assert asked(tools=TOOLS, **fields).tool_choice == expected


def test_calls_and_their_results_are_messages() -> None:
    picture = {"type": "image_url", "image_url": {"url": "http://x/1"}}
    messages = [
        *ASK["messages"],
        {"role": "assistant", "content": None, "tool_calls": [PARIS], "reasoning_content": "Hm."},
        {"role": "tool", "tool_call_id": "call_a", "content": [{"type": "text", "text": "Sun"}, picture]},
    ]

    _, call, result = asked(messages=messages, tools=TOOLS).messages

    made = ToolCall("call_a", "get_weather", '{"city": "Paris"}')
    assert call == Message("assistant", (), tool_calls=(made,), reasoning="Hm.")
    assert (result.role, result.tool_call_id, result.content[0]) == ("tool", "call_a", "Sun")
    assert len(result.content) == 2


def test_the_older_fields_say_the_same() -> None:
    messages = [
        *ASK["messages"],
        {"role": "assistant", "content": None, "function_call": PARIS["function"]},
        {"role": "function", "name": "get_weather", "content": "Sun"},
    ]

    request = asked(messages=messages, functions=[FUNCTION], function_call={"name": "get_weather"})

    assert request.tools == asked(tools=TOOLS[:1]).tools
    assert request.tool_choice == ToolChoice("required", ("get_weather",), parallel=False)
    _, call, result = request.messages
    assert call.tool_calls[0].id == result.tool_call_id
    assert call.tool_calls[0].arguments == '{"city": "Paris"}'


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [*TOOLS, TOOLS[0]]}, "tools"),
        ({"tools": TOOLS, "functions": [FUNCTION]}, "functions"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
    ],
)
def test_tools_that_cannot_be_taken_are_named(fields: dict[str, Any], field: str) -> None:
    assert f"field: '{field}'" in error(chat(**fields))["message"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reasoning_effort": "high"}, Reasoning(effort="high")),
        ({"reasoning_effort": "none"}, Reasoning(enabled=False)),
        ({"enable_thinking": False}, Reasoning(enabled=False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 7}}, Reasoning(enabled=True, max_tokens=7)),
        ({"reasoning": {"effort": "low", "max_tokens": 9}}, Reasoning(effort="low", max_tokens=9)),
    ],
)
def test_what_is_asked_about_reasoning(fields: dict[str, Any], expected: Reasoning) -> None:
    assert asked(**fields).reasoning == expected


def test_variables_of_the_template() -> None:
    assert asked(chat_template_kwargs={"style": "brief", "deep": True}).template_options == {
        "style": "brief",
        "deep": True,
    }


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_whole_answer_with_calls() -> None:
    (choice,) = chat(FakePipeline(CALLED), tools=TOOLS).json()["choices"]

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {"role": "assistant", "content": "Let me see.", "tool_calls": [PARIS, NOW]}


def test_an_answer_of_calls_alone_has_no_content() -> None:
    (choice,) = chat(FakePipeline(CALLED[1:]), tools=TOOLS).json()["choices"]

    assert choice["message"]["content"] is None


def test_the_parts_of_calls_come_as_they_are_made() -> None:
    *chunks, _ = events(chat(FakePipeline(CALLED), tools=TOOLS, stream=True))

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "Let me see."},
        {
            "tool_calls": [
                {"index": 0, "id": "call_a", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]},
        {"tool_calls": [{"index": 1, **NOW}]},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_request_in_the_older_form_is_answered_in_it() -> None:
    pipeline = FakePipeline((*CALLED[1:4], CALLED[-1]))
    fields = {"functions": [FUNCTION], "function_call": {"name": "get_weather"}}

    (choice,) = chat(pipeline, **fields).json()["choices"]
    *chunks, _ = events(chat(pipeline, **fields, stream=True))

    assert choice["finish_reason"] == "function_call"
    assert choice["message"] == {"role": "assistant", "content": None, "function_call": PARIS["function"]}
    pieces = [chunk["choices"][0]["delta"].get("function_call", {}) for chunk in chunks if chunk["choices"]]
    assert "".join(piece.get("name", "") for piece in pieces) == "get_weather"
    assert "".join(piece.get("arguments", "") for piece in pieces) == '{"city": "Paris"}'
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


def test_reasoning_stands_beside_the_content() -> None:
    script = (Delta(0, reasoning="Hm."), Delta(0, "Yes."), Delta(0, finish_reason="stop"))
    pipeline = FakePipeline(script, usage=replace(USAGE, reasoning_tokens=1))

    body = chat(pipeline).json()
    *chunks, _ = events(chat(pipeline, stream=True))

    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}
    assert [chunk["choices"][0]["delta"] for chunk in chunks][1:3] == [
        {"reasoning_content": "Hm."},
        {"content": "Yes."},
    ]
