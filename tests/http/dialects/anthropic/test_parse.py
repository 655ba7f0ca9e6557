"""What the fields of the Messages API mean: each has its effect, or is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from foveal.errors import InvalidRequest
from foveal.http.body import validate
from foveal.http.dialects.anthropic.parse import chat_request
from foveal.http.dialects.anthropic.schemas import MessagesBody
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

HI: dict[str, Any] = {"role": "user", "content": "Hi"}
THE: dict[str, Any] = {"role": "assistant", "content": "The"}
CALL: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
ASK: dict[str, Any] = {"model": "foveal-mini", "max_tokens": 9, "messages": [HI]}
LOOK: dict[str, Any] = {
    "name": "look",
    "description": "Looks.",
    "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}},
}


def parse(**fields: Any) -> ChatRequest:
    return chat_request(validate(ASK | fields, MessagesBody, "error"), CARD, fresh_seed=77)


def messages(*turns: tuple[str, Any], **fields: Any) -> tuple[Message, ...]:
    return parse(messages=[{"role": role, "content": content} for role, content in turns], **fields).messages


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words} | more


def image(data: str = "QUJD", **more: Any) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}} | more


def result(content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content} | more


def test_absent_settings_come_from_the_checkpoint() -> None:
    sampling = SamplingParams(temperature=0.5, top_p=0.9, max_tokens=9, seed=77)
    assert parse() == ChatRequest((Message("user", ("Hi",)),), GenerationOptions(sampling, max_tokens=9))


@pytest.mark.parametrize(
    ("fields", "setting", "expected"),
    [
        ({"temperature": 0}, "temperature", 0.0),
        ({"top_p": 0.3}, "top_p", 0.3),
        ({"top_k": 250}, "top_k", 250),
    ],
)
def test_a_setting_changes_the_sampling(fields: dict[str, Any], setting: str, expected: float) -> None:
    assert getattr(parse(**fields).options.sampling, setting) == expected


def test_stop_sequences_and_an_output_format_are_options() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    options = parse(
        stop_sequences=["END", "\n\n"], output_config={"format": {"type": "json_schema", "schema": schema}}
    ).options
    assert options.stop == ("END", "\n\n")
    assert options.grammar == Grammar(
        "json_schema",
        '{"type":"object","properties":{"a":{"type":"integer"}}}',
        source="This output_config.format",
    )


@pytest.mark.parametrize("system", ["Be brief.\n\nBe kind.", [text("Be brief."), text("Be kind.")]])
def test_the_system_prompt_is_the_first_message(system: Any) -> None:
    assert messages(("user", "Hi"), system=system) == (
        Message("system", ("Be brief.\n\nBe kind.",)),
        Message("user", ("Hi",)),
    )


def test_blocks_keep_their_order_and_images_are_numbered_over_the_request() -> None:
    by_url = {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}
    assert messages(
        ("user", [text("a"), image(), by_url]), ("assistant", "b"), ("user", [image("REVG"), text("c")])
    ) == (
        Message("user", ("a", ImageRef("data:image/png;base64,QUJD", 1), ImageRef("https://x/a.png", 2))),
        Message("assistant", ("b",)),
        Message("user", (ImageRef("data:image/png;base64,REVG", 3), "c")),
    )


def test_documents_are_files_or_text() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}
    by_url = {"type": "url", "url": "https://x/a.pdf"}
    plain = {"type": "text", "media_type": "text/plain", "data": "Dear"}
    parts = {"type": "content", "content": [text("a"), image()]}
    documents = [
        {"type": "document", "source": pdf, "title": "T", "context": "C", "citations": {"enabled": False}},
        {"type": "document", "source": by_url, "pages": "2-5"},
        {"type": "document", "source": plain},
        {"type": "document", "source": parts},
    ]
    assert messages(("user", documents))[0].content == (
        "T\nC\n\n",
        ImageRef("data:application/pdf;base64,QUJD", 1, file=File()),
        ImageRef("https://x/a.pdf", 2, file=File(pages=(2, 5))),
        "Dear\n\n",
        "a",
        ImageRef("data:image/png;base64,QUJD", 3),
    )


def test_neighbouring_turns_of_one_role_are_one_message() -> None:
    assert messages(("user", "a"), ("user", [image(), text("b")])) == (
        Message("user", ("a", ImageRef("data:image/png;base64,QUJD", 1), "b")),
    )


def test_an_answer_that_the_client_has_begun_is_gone_on_with() -> None:
    asked = parse(messages=[HI, THE])
    assert asked.continues
    assert asked.messages[-1] == Message("assistant", ("The",))


@pytest.mark.parametrize("content", ["", []])
def test_a_beginning_that_says_nothing_is_none(content: Any) -> None:
    assert parse(messages=[HI, {"role": "assistant", "content": content}]) == parse()


def test_a_call_and_its_result_with_an_image() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "it"}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    assert messages(
        ("user", "Look"),
        ("assistant", [thought, text("I look."), call]),
        ("user", [result([image(), text("a")]), text("So?")]),
    ) == (
        Message("user", ("Look",)),
        Message("assistant", ("I look.",), tool_calls=(ToolCall("toolu_1", "look", '{"at": "it"}'),), reasoning="hm"),
        Message("tool", (ImageRef("data:image/png;base64,QUJD", 1), "a"), tool_call_id="toolu_1"),
        Message("user", ("So?",)),
    )


def test_results_of_several_calls_stay_apart_and_a_failure_is_said() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    found = messages(("assistant", [call]), ("user", [result("a"), result("b", is_error=True), result([])]))
    assert [message.content for message in found[1:]] == [("a",), ("Error: ", "b"), ()]


def test_a_result_without_a_call_and_halves_of_characters_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no such call before it, field: 'messages'"):
        messages(("user", [result("a")]))
    with pytest.raises(InvalidRequest, match="half of a surrogate pair"):
        parse(tools=[LOOK | {"input_schema": {"title": "\ud800"}}])


def test_tools_with_their_schemas() -> None:
    assert parse(tools=[LOOK]).tools == (
        Tool("look", "Looks.", '{"type": "object", "properties": {"at": {"type": "string"}}}'),
    )


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, ToolChoice()),
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "none"}, ToolChoice("none")),
        ({"type": "tool", "name": "look"}, ToolChoice("required", ("look",))),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice("auto", parallel=False)),
    ],
)
def test_the_choice_of_tools(asked: object, expected: ToolChoice) -> None:
    assert parse(tools=[LOOK], tool_choice=asked).tool_choice == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Reasoning()),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Reasoning(True, None, 2000)),
        ({"thinking": {"type": "disabled"}}, Reasoning(False)),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, Reasoning(None, "high")),
    ],
)
def test_thinking(fields: dict[str, Any], expected: Reasoning) -> None:
    assert parse(**fields).reasoning == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"user_id": "me"}, "service_tier": "auto", "speed": "standard", "stop_sequences": []},
        {"cache_control": {"type": "ephemeral"}, "mcp_servers": [], "container": None},
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
        {"messages": [{"role": "user", "content": [text("Hi", cache_control={"type": "ephemeral", "ttl": "1h"})]}]},
    ],
)
def test_what_asks_for_nothing_is_accepted(fields: dict[str, Any]) -> None:
    assert parse(**fields) == parse()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"messages": [HI, {"role": "assistant", "content": "The "}]}, "messages"),
        ({"messages": [HI, THE], "thinking": {"type": "enabled", "budget_tokens": 1024}}, "messages"),
        ({"messages": [HI, THE], "output_config": {"format": {"type": "json_schema", "schema": {}}}}, "messages"),
        ({"messages": [HI, {"role": "assistant", "content": [CALL]}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": [image()]}, HI]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "a"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [image(source={"type": "file", "file_id": "f"})]}]}, "source"),
        ({"messages": [{"role": "user", "content": []}]}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"tools": [LOOK], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools"),
        ({"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "edits.0.type"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_refused_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"field: '.*{field}'"):
        parse(**fields)
