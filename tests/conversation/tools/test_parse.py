"""tools/parse.py: calls in what models write, cut at every character."""

from __future__ import annotations

import json

import pytest

from foveal.conversation.tools.form import FORMS
from foveal.conversation.tools.parse import CallParser
from foveal.types import ToolCallDelta
from tests.conversation.tools.texts import RECORDED, TOOLS, Written


def read(form: str, *parts: str) -> tuple[str, list[ToolCallDelta]]:
    """The text beside the calls, and the parts of calls."""
    parser = CallParser(FORMS[form], TOOLS)
    said = [entry for i, part in enumerate(parts) for entry in parser.push(part, is_last=i == len(parts) - 1)]
    text = "".join(entry for entry in said if isinstance(entry, str))
    return text, [entry for entry in said if isinstance(entry, ToolCallDelta)]


def joined(parts: list[ToolCallDelta]) -> list[tuple[str, str, bool]]:
    """Name, arguments, and whether it is whole, for each call."""
    calls: dict[int, list[ToolCallDelta]] = {}
    for part in parts:
        calls.setdefault(part.index, []).append(part)
    return [
        ("".join(p.name for p in call), "".join(p.arguments for p in call), call[-1].is_last) for call in calls.values()
    ]


@pytest.mark.parametrize("written", RECORDED, ids=lambda written: written.form)
def test_what_models_write_is_read(written: Written) -> None:
    text, parts = read(written.form, written.text)

    calls = joined(parts)
    assert [(name, json.loads(arguments)) for name, arguments, _ in calls] == [*written.calls]
    assert all(is_whole for _, _, is_whole in calls)
    assert text == written.content


@pytest.mark.parametrize("written", RECORDED, ids=lambda written: written.form)
def test_it_is_read_the_same_however_it_is_cut(written: Written) -> None:
    text, parts = read(written.form, written.text)

    for place in range(1, len(written.text)):
        cut_text, cut_parts = read(written.form, written.text[:place], written.text[place:])
        assert (cut_text, joined(cut_parts)) == (text, joined(parts))
    letter_text, letter_parts = read(written.form, *written.text)
    assert (letter_text, joined(letter_parts)) == (text, joined(parts))


@pytest.mark.parametrize("written", RECORDED, ids=lambda written: written.form)
def test_an_answer_that_is_cut_gives_the_start_of_what_was_said(written: Written) -> None:
    text, parts = read(written.form, written.text)

    for length in range(len(written.text)):
        cut_text, cut_parts = read(written.form, written.text[:length])
        for (name, arguments, _), (cut_name, cut_arguments, is_whole) in zip(
            joined(parts), joined(cut_parts), strict=False
        ):
            assert cut_name == name
            assert arguments.startswith(cut_arguments)
            assert not is_whole or cut_arguments == arguments
        if not cut_parts:
            assert cut_text == written.text[:length] or text.startswith(cut_text)


def test_arguments_come_as_they_are_written() -> None:
    parser = CallParser(FORMS["hermes"], TOOLS)

    assert parser.push("Well") == ["Well"]
    assert parser.push("<tool") == []
    assert parser.push('_call>\n{"name": "get_weath') == []
    (begun,) = parser.push('er"')
    assert isinstance(begun, ToolCallDelta)
    assert (begun.index, begun.name, begun.arguments) == (0, "get_weather", "")
    assert parser.push(', "arguments": {"ci') == [ToolCallDelta(0, arguments='{"ci')]
    assert parser.push('ty": "P"}}') == [ToolCallDelta(0, arguments='ty": "P"}', is_last=True)]


def test_each_call_has_an_id_of_its_own() -> None:
    _, parts = read("hermes", RECORDED[1].text)

    ids = [part.id for part in parts if part.id]
    assert len({*ids}) == len(ids) == 2


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("hermes", '<tool_call>\n{"name": "unknown", "arguments": {}}\n</tool_call>'),  # the client has no such tool
        ("hermes", "The mark <tool_call> opens a call."),
        ("hermes", "<tool_call>"),
        ("hermes", '<tool_call>\n{"name": 3}'),
        ("llama", '{"name": "unknown", "parameters": {}}'),
        ("llama", '{"answer": 4}'),
        ("llama", 'It is {"name": "now", "parameters": {}}'),  # an answer in words has no calls
        ("pythonic", "[1] says (so)"),
        ("pythonic", "[now"),
        ("xml", "<tool_call>\n<function=unknown>\n</function>\n</tool_call>"),
        ("gemma4", "<|tool_call>call:unknown{}<tool_call|>"),
        ("mistral-named", "[TOOL_CALLS]unknown[ARGS]{}"),
    ],
)
def test_what_is_no_call_is_text(form: str, text: str) -> None:
    assert read(form, text) == (text, [])
    assert read(form, *text) == (text, [])


def test_text_after_something_like_a_call_is_read_on() -> None:
    text, parts = read("hermes", 'a <tool_call> b <tool_call>{"name": "now", "arguments": {}}</tool_call>')

    assert text == "a <tool_call> b"
    assert joined(parts) == [("now", "{}", True)]
