"""What the grammar of tool calls lets through is what their parser reads, with arguments that fit the schema.

Each answer is drawn by chance among the tokens that the grammar allows, so no model is needed to try it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.conversation.reasoning import KNOWN
from foveal.conversation.said import AnswerParser, Reading
from foveal.conversation.tokenizer import Tokenizer
from foveal.conversation.tools.constraint import Calls, Thinking, grammar_of
from foveal.conversation.tools.form import FORMS
from foveal.engine.grammar import Grammars, translate
from foveal.types import Grammar, Tool, ToolChoice
from tests.builders import byte_tokenizer
from tests.conversation.tools.texts import NOW, WEATHER, WEATHER_SCHEMA

MARKS = (
    "<|end|>",
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<|tool_call>",
    '<|"|>',
    "<think>",
    "</think>",
)
BACKEND = byte_tokenizer(MARKS)
TOKENIZER = Tokenizer(BACKEND)
[END] = BACKEND.encode("<|end|>", add_special_tokens=False).ids
VOCAB_SIZE = BACKEND.get_vocab_size()
SHOWN = frozenset(BACKEND.encode(mark, add_special_tokens=False).ids[0] for mark in MARKS[1:])
THINK = KNOWN[0]
SMALL: dict[str, Any] = {
    **WEATHER_SCHEMA,
    "properties": {
        **WEATHER_SCHEMA["properties"],
        "city": {"type": "string", "maxLength": 5},
        "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 2},
        "at": {
            "type": "object",
            "properties": {"hour": {"type": "integer"}, "note": {"type": "string", "maxLength": 3}},
            "required": ["hour"],
        },
        "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
}
SHORT = Tool("get_weather", "", json.dumps(SMALL))


@pytest.fixture(scope="module")
def grammars(tmp_path_factory: pytest.TempPathFactory) -> Grammars:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    BACKEND.save(str(folder / "tokenizer.json"))
    return Grammars(folder)


def drawn(grammars: Grammars, grammar: Grammar, seed: int, max_tokens: int = 600) -> str:
    """An answer by chance, which ends as soon as it may. Marks are drawn as often as letters."""
    random, output = np.random.default_rng(seed), list[int]()
    constraint = grammars.start(translate(grammar), (END,), max_tokens)
    while len(output) < max_tokens:
        allowed = constraint.allowed(output, VOCAB_SIZE).nonzero()[0]
        if END in allowed and (len(allowed) == 1 or random.random() < 0.5):
            return spelled(output)
        plain = [
            int(i)
            for i in allowed
            if i != END and (i in SHOWN or chr(BACKEND.decode([int(i)]).encode()[0]).isprintable())
        ]
        output.append(int(random.choice(plain or [int(i) for i in allowed if i != END])))
    raise AssertionError(f"it does not end: {spelled(output)[:300]}")


def spelled(output: list[int]) -> str:
    return TOKENIZER.spell(output)


def read(text: str, form: str, tools: tuple[Tool, ...]) -> tuple[str, str, list[tuple[str, Any]]]:
    """Reasoning, text, and the calls."""
    parser = AnswerParser(Reading(THINK, form=FORMS[form], tools=tools))
    said = parser.push(text, is_last=True)
    calls: dict[int, list[str]] = {}
    for part in (call for each in said for call in each.calls):
        entry = calls.setdefault(part.index, ["", ""])
        entry[0] += part.name
        entry[1] += part.arguments
    read_calls = [(name, json.loads(arguments)) for name, arguments in calls.values()]
    return "".join(each.reasoning for each in said), "".join(each.text for each in said), read_calls


def fits(arguments: dict[str, Any]) -> bool:
    """Whether the arguments fit SMALL."""
    known: dict[str, Callable[[Any], bool]] = {
        "city": lambda v: isinstance(v, str) and len(v) <= 5,
        "days": lambda v: type(v) is int and 1 <= v <= 14,
        "units": lambda v: v in ("metric", "imperial"),
        "at": lambda v: type(v["hour"]) is int and v.keys() <= {"hour", "note"} and len(v.get("note", "")) <= 3,
        "tags": lambda v: len(v) <= 2 and {*v} <= {"x", "y"},
        "maybe": lambda v: v in (True, False, None) and type(v) is not int,
    }
    return "city" in arguments and all(name in known and known[name](value) for name, value in arguments.items())


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_call_that_is_required_fits_its_schema(grammars: Grammars, form: str) -> None:
    calls = Calls(FORMS[form], (SHORT,), ToolChoice("required", ("get_weather",), parallel=False))
    grammar = grammar_of(None, calls, None, TOKENIZER.literal)
    assert grammar is not None

    for seed in range(12):
        answer = drawn(grammars, grammar, seed)
        _, text, made = read(answer, form, (SHORT,))
        assert [name for name, _ in made] == ["get_weather"], answer
        assert fits(made[0][1]), answer
        assert text == "", answer


@pytest.mark.parametrize("form", sorted(FORMS))
def test_an_answer_may_have_calls_where_they_are_allowed(grammars: Grammars, form: str) -> None:
    calls = Calls(FORMS[form], (SHORT, NOW), ToolChoice())
    grammar = grammar_of(None, calls, None, TOKENIZER.literal)
    assert grammar is not None
    constraint = grammars.start(translate(grammar), (END,), 1000)
    arguments = "{}" if FORMS[form].parameters is None else ""
    call = FORMS[form].before + "now" + FORMS[form].between + arguments + FORMS[form].after

    text = "" if FORMS[form].mark == "" else "Well. "
    written = text + FORMS[form].begin + call + FORMS[form].end
    output = [*BACKEND.encode(written, add_special_tokens=False).ids]
    for length in range(len(output)):
        assert constraint.allowed(output[:length], VOCAB_SIZE)[output[length]], spelled(output[:length])
    assert constraint.allowed(output, VOCAB_SIZE)[END]
    assert read(written, form, (SHORT, NOW)) == ("", text.strip(), [("now", {})])


def test_words_are_allowed_beside_tools(grammars: Grammars) -> None:
    for form in FORMS.values():
        grammar = grammar_of(None, Calls(form, (SHORT, NOW), ToolChoice()), None, TOKENIZER.literal)
        assert grammar is not None
        output = [*BACKEND.encode("It is {1} [2], so <b>.", add_special_tokens=False).ids]
        constraint = grammars.start(translate(grammar), (END,), 1000)
        for length in range(len(output)):
            assert constraint.allowed(output[:length], VOCAB_SIZE)[output[length]], (
                form.name,
                spelled(output[:length]),
            )
        assert constraint.allowed(output, VOCAB_SIZE)[END]


@pytest.mark.parametrize("max_tokens", [60, 90, 130])
@pytest.mark.parametrize("form", ["hermes", "xml", "gemma4", "pythonic"])
def test_the_last_tokens_are_kept_for_the_end_of_a_call(grammars: Grammars, form: str, max_tokens: int) -> None:
    tool = Tool("now", "", '{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}')
    calls = Calls(FORMS[form], (tool,), ToolChoice("required", parallel=False))
    grammar = grammar_of(None, calls, None, TOKENIZER.literal)
    assert grammar is not None
    constraint = grammars.start(translate(grammar), (END,), max_tokens)
    output: list[int] = []
    [letter] = BACKEND.encode("z", add_special_tokens=False).ids
    while not (allowed := constraint.allowed(output, VOCAB_SIZE))[END]:
        output.append(letter if allowed[letter] else int(allowed.nonzero()[0][0]))  # a text without an end
        assert len(output) < max_tokens

    (made,) = read(spelled(output), form, (tool,))[2]
    assert made[0] == "now"
    assert {*made[1]["a"]} <= {"z", "x"}


# --- reasoning --------------------------------------------------------------------------------------------------------


def test_a_limit_on_reasoning_forces_its_mark(grammars: Grammars) -> None:
    grammar = grammar_of(Thinking(THINK, is_open=True, max_tokens=4), None, None, TOKENIZER.literal)
    assert grammar is not None
    constraint = grammars.start(translate(grammar), (END,), 1000)
    thought = [*BACKEND.encode("abcd", add_special_tokens=False).ids]
    [close] = BACKEND.encode("</think>", add_special_tokens=False).ids

    assert constraint.allowed(thought[:3], VOCAB_SIZE).sum() > 100
    assert [*constraint.allowed(thought, VOCAB_SIZE).nonzero()[0]] == [close]
    assert constraint.allowed([*thought, close], VOCAB_SIZE)[END]


def test_the_format_of_the_answer_begins_behind_the_reasoning(grammars: Grammars) -> None:
    response = Grammar("json_schema", '{"enum": ["yes", "no"]}')
    grammar = grammar_of(Thinking(THINK, is_open=False), None, response, TOKENIZER.literal)
    assert grammar is not None
    thought = [*BACKEND.encode("<think>Hm.</think>", add_special_tokens=False).ids]
    constraint = grammars.start(translate(grammar), (END,), 1000)

    assert not constraint.allowed(thought[:4], VOCAB_SIZE)[END]
    yes = [*BACKEND.encode('\n\n"yes"', add_special_tokens=False).ids]
    assert constraint.allowed([*thought, *yes], VOCAB_SIZE)[END]
    fresh = grammars.start(translate(grammar), (END,), 1000)
    assert fresh.allowed(yes[2:], VOCAB_SIZE)[END]  # a model need not think


def test_whoever_wants_to_stop_in_reasoning_closes_it(grammars: Grammars) -> None:
    response = Grammar("json_schema", '{"enum": ["yes", "no"]}')
    grammar = grammar_of(Thinking(THINK, is_open=True), None, response, TOKENIZER.literal)
    assert grammar is not None
    constraint = grammars.start(translate(grammar), (END,), 1000)

    constraint.allowed([*BACKEND.encode("Hm.", add_special_tokens=False).ids], VOCAB_SIZE)

    assert [constraint.closing] == BACKEND.encode("</think>", add_special_tokens=False).ids


# --- schemas ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_enforced_is_left_out_unless_the_tool_is_strict() -> None:
    loose = Tool("f", "", '{"type": "object", "properties": {"a": {"type": "array", "uniqueItems": true}}}')

    def translated(tool: Tool) -> str:
        grammar = grammar_of(None, Calls(FORMS["hermes"], (tool,), ToolChoice()), None, TOKENIZER.literal)
        assert grammar is not None
        return translate(grammar)

    assert "uniqueItems" not in translated(loose)
    with pytest.raises(Exception, match="the parameters of f: uniqueItems can't be enforced"):
        translated(replace(loose, is_strict=True))


def test_weather_is_a_schema_that_every_form_can_write() -> None:
    for form in FORMS.values():
        grammar = grammar_of(None, Calls(form, (WEATHER,), ToolChoice()), None, TOKENIZER.literal)
        assert grammar is not None
        assert translate(grammar)


@pytest.mark.parametrize("form", ["hermes", "pythonic", "xml"])
def test_values_of_the_same_schema_are_one_part_whichever_tools_have_them(form: str) -> None:
    def tool(i: int) -> Tool:
        properties = {f"depth_{i}": {"type": "integer", "description": f"Of {i}."}, f"ratio_{i}": {"type": "number"}}
        return Tool(f"f{i}", "", json.dumps({"type": "object", "properties": properties}))

    calls = Calls(FORMS[form], tuple(map(tool, range(100))), ToolChoice())
    grammar = grammar_of(None, calls, None, TOKENIZER.literal)
    assert grammar is not None

    assert len(grammar.parts) == 2


@pytest.mark.parametrize("name", ["a b", "a.b/c*", 'say "so"', "back\\slash", "größe", "tab\t", "[x]|{2}#~&@<1>"])
@pytest.mark.parametrize("is_strict", [False, True])
def test_a_property_has_whatever_name(grammars: Grammars, name: str, is_strict: bool) -> None:
    schema = {"type": "object", "properties": {name: {"enum": [1]}}, "required": [name]}
    tool = Tool("f", "", json.dumps(schema), is_strict)
    calls = Calls(FORMS["hermes"], (tool,), ToolChoice("required", parallel=False))
    grammar = grammar_of(None, calls, None, TOKENIZER.literal)
    assert grammar is not None

    answer = drawn(grammars, grammar, 0)

    assert read(answer, "hermes", (tool,))[2] == [("f", {name: 1})]


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"minProperties": 1}, '{"a": 1}', "{}"),
        ({"additionalProperties": True}, '{"b": 2}', '{"a": "x"}'),
        ({"properties": {"a": {"$ref": "#/properties/b"}, "b": {"type": "integer"}}}, '{"a": 1}', '{"a": "x"}'),
        ({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"enum": [7]}}}, '{"a": 7}', '{"a": 1}'),
        ({"required": ["z"], "additionalProperties": {"enum": [1]}}, '{"z": 1}', "{}"),
        ({}, '{"a":1}', '{"b": 1}'),
    ],
)
def test_an_object_keeps_all_of_its_schema(grammars: Grammars, schema: dict[str, Any], good: str, bad: str) -> None:
    whole = {"type": "object", "properties": {"a": {"type": "integer"}}} | schema
    calls = Calls(FORMS["hermes"], (Tool("f", "", json.dumps(whole)),), ToolChoice("required", parallel=False))
    grammar = grammar_of(None, calls, None, TOKENIZER.literal)
    assert grammar is not None

    assert takes(grammars, grammar, f'<tool_call>\n{{"name": "f", "arguments": {good}}}\n</tool_call>')
    assert not takes(grammars, grammar, f'<tool_call>\n{{"name": "f", "arguments": {bad}}}\n</tool_call>')


def takes(grammars: Grammars, grammar: Grammar, answer: str) -> bool:
    """Whether the whole answer is allowed, token by token."""
    constraint = grammars.start(translate(grammar), (END,), 1000)
    output = [*BACKEND.encode(answer, add_special_tokens=False).ids, END]
    return all(constraint.allowed(output[:i], VOCAB_SIZE)[token_id] for i, token_id in enumerate(output))
