"""What the fields of the Responses API mean: each has its effect, or is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from foveal.config import HttpConfig
from foveal.errors import InvalidRequest
from foveal.http.body import validate
from foveal.http.dialects.responses.parse import chat_request, items_of
from foveal.http.dialects.responses.schemas import ResponsesBody
from foveal.types import (
    ChatRequest,
    File,
    GenerationOptions,
    Grammar,
    ImageRef,
    Message,
    Reasoning,
    SamplingParams,
    Tool,
    ToolCall,
    ToolChoice,
)
from tests.fakes import CARD

ASK: dict[str, Any] = {"model": "foveal-mini", "input": "Hi"}
LOOK: dict[str, Any] = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}
CALL: dict[str, Any] = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def parse(**fields: Any) -> ChatRequest:
    body = validate(ASK | fields, ResponsesBody, "error")
    return chat_request(body, items_of(body), CARD, HttpConfig(), fresh_seed=77)


def message(role: str, *content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content[0] if isinstance(content[0], str) else list(content)} | more


def text(words: str) -> dict[str, str]:
    return {"type": "input_text", "text": words}


def image(url: str = "https://x/a.png", **more: str | int) -> dict[str, str | int]:
    return {"type": "input_image", "image_url": url} | more


def output(*content: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": "c", "output": list(content)}


def test_absent_settings_come_from_the_checkpoint() -> None:
    sampling = SamplingParams(temperature=0.5, top_p=0.9, max_tokens=2048, seed=77)
    assert parse() == ChatRequest((Message("user", ("Hi",)),), GenerationOptions(sampling))


@pytest.mark.parametrize(
    ("fields", "setting", "expected"),
    [
        ({"temperature": 0}, "temperature", 0.0),
        ({"top_p": 0.3}, "top_p", 0.3),
        ({"top_logprobs": 3}, "num_logprobs", 3),
        ({"include": ["message.output_text.logprobs"]}, "num_logprobs", 0),
        ({"max_output_tokens": 5}, "max_tokens", 5),
    ],
)
def test_a_setting_changes_the_sampling(fields: dict[str, Any], setting: str, expected: float) -> None:
    assert getattr(parse(**fields).options.sampling, setting) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Grammar("json_schema", '{"type":"object"}')),
        (
            {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
            Grammar(
                "json_schema",
                '{"type":"object","properties":{"a":{"type":"integer"}}}',
                source="This text.format.schema",
            ),
        ),
    ],
)
def test_the_format_of_the_text(form: dict[str, Any], expected: Grammar | None) -> None:
    assert parse(text={"format": form}).options.grammar == expected


def test_truncation_leaves_room_for_the_answer() -> None:
    assert parse(truncation="auto", max_output_tokens=100).options.max_prompt_tokens == 924
    assert parse(truncation="disabled").options.max_prompt_tokens is None


def test_items_keep_their_order_and_images_are_numbered_over_the_request() -> None:
    items = [message("user", text("a"), image()), message("assistant", "b"), message("user", image("https://x/b.png"))]
    assert parse(input=items).messages == (
        Message("user", ("a", ImageRef("https://x/a.png", 1))),
        Message("assistant", ("b",)),
        Message("user", (ImageRef("https://x/b.png", 2),)),
    )


def test_files() -> None:
    files = [
        {"type": "input_file", "file_data": "data:application/pdf;base64,QUJD", "filename": "a.pdf", "pages": "3"},
        {"type": "input_file", "file_url": "https://x/a.pdf", "detail": "low"},
    ]
    assert parse(input=[message("user", *files)]).messages[0].content == (
        ImageRef("data:application/pdf;base64,QUJD", 1, file=File("a.pdf", (3, 3))),
        ImageRef("https://x/a.pdf", 2, "low", file=File()),
    )


@pytest.mark.parametrize(("given", "meant"), [("low", "low"), ("high", "high"), ("auto", "auto"), ("original", "high")])
def test_the_detail_of_an_image(given: str, meant: str) -> None:
    (asked,) = parse(input=[message("user", image(detail=given))]).image_refs
    assert asked.detail == meant


def test_a_budget_of_tokens_stands_in_place_of_the_detail() -> None:
    (asked,) = parse(input=[message("user", image(detail="low", max_soft_tokens=560))]).image_refs
    assert asked.detail == 560


def test_instructions_and_developers_are_one_system_message() -> None:
    assert parse(
        instructions="Be brief.", input=[message("developer", "Be kind."), message("user", "Hi")]
    ).messages == (
        Message("system", ("Be brief.\n\nBe kind.",)),
        Message("user", ("Hi",)),
    )


def test_what_the_assistant_thought_said_and_called_is_one_message() -> None:
    thought = {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    said = message("assistant", {"type": "output_text", "text": "I look.", "annotations": []}, type="message")
    messages = parse(input=[message("user", "Look"), thought, said, CALL, output(text("it"), image())]).messages
    assert messages[1:] == (
        Message("assistant", ("I look.",), tool_calls=(ToolCall("c", "look", "{}"),), reasoning="hm"),
        Message("tool", ("it", ImageRef("https://x/a.png", 1)), name="look", tool_call_id="c"),
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ToolChoice()),
        ({"tool_choice": "none"}, ToolChoice("none")),
        ({"tool_choice": "required", "parallel_tool_calls": False}, ToolChoice("required", parallel=False)),
        ({"tool_choice": {"type": "function", "name": "look"}}, ToolChoice("required", ("look",))),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]}},
            ToolChoice("auto", ("look",)),
        ),
    ],
)
def test_tools_and_which_may_be_called(fields: dict[str, Any], expected: ToolChoice) -> None:
    asked = parse(tools=[LOOK], **fields)
    assert asked.tools == (Tool("look", "", '{"type": "object"}', is_strict=True),)
    assert asked.tool_choice == expected


@pytest.mark.parametrize(
    ("effort", "expected"),
    [("none", Reasoning(False)), ("minimal", Reasoning(effort="low")), ("xhigh", Reasoning(effort="high"))],
)
def test_the_effort_of_reasoning(effort: str, expected: Reasoning) -> None:
    assert parse(reasoning={"effort": effort, "summary": "auto"}).reasoning == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"store": False, "metadata": {"a": "b"}, "service_tier": "auto", "background": False, "conversation": None},
        {"prompt_cache_key": "k", "safety_identifier": "s", "user": "u", "prompt_cache_retention": "24h"},
        {
            "include": ["reasoning.encrypted_content"],
            "max_tool_calls": 3,
            "stream_options": {"include_obfuscation": True},
        },
        {"text": {"verbosity": "medium"}, "reasoning": {"summary": "auto"}, "truncation": "disabled", "tools": []},
        {"input": [{"type": "message", "role": "user", "content": [text("Hi")], "status": "completed"}]},
    ],
)
def test_what_asks_for_nothing_is_accepted(fields: dict[str, Any]) -> None:
    assert parse(**fields) == parse()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": []}, "input"),
        ({"input": [message("user", {"type": "input_audio"})]}, "input.0.content.0"),
        ({"input": [{"type": "web_search_call", "id": "w"}]}, "input.0"),
        ({"input": [message("user", {"type": "input_image", "file_id": "f"})]}, "image_url"),
        ({"input": [message("user", {"type": "input_file", "filename": "a"})]}, "input"),
        ({"input": [message("user", {"type": "input_file", "file_url": "u", "pages": "5-2"})]}, "pages"),
        ({"input": [message("user", {"type": "input_file", "file_url": "u", "pages": "0"})]}, "pages"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [LOOK], "tool_choice": {"type": "function", "name": "other"}}, "tool_choice"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_refused_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"field: '.*{field}'"):
        parse(**fields)
