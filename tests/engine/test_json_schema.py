"""engine/json_schema.py: clients' schemas become schemas whose answers end, and no answer breaks the client's own."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import llguidance
import pytest

from foveal.config import DEFAULT_BOUNDS, SchemaConfig
from foveal.engine.grammar import GrammarError, translate
from foveal.engine.json_schema import prepared
from foveal.engine.json_schema_facts import INSTEAD, SchemaError
from foveal.types import Grammar
from tests.builders import byte_tokenizer

SUITE = [json.loads(line) for line in Path("tests/data/json_schema/draft2020-12.jsonl").read_text("utf-8").splitlines()]


@cache
def tokenizer() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(byte_tokenizer(("<|end|>",)).to_str())


def matcher_of(schema: Any, bounds: SchemaConfig = DEFAULT_BOUNDS) -> llguidance.LLMatcher:
    """Raises GrammarError."""
    text = translate(Grammar("json_schema", json.dumps(schema)), bounds)
    matcher = llguidance.LLMatcher(tokenizer(), text, log_level=0)
    if matcher.is_error():
        raise GrammarError(matcher.get_error())
    return matcher


def holds(matcher: llguidance.LLMatcher, answer: str) -> bool:
    """Whether `answer` is a whole answer."""
    tokens = tokenizer().tokenize_str(answer)
    matcher.reset()
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def allows(schema: Any, answer: str, bounds: SchemaConfig = DEFAULT_BOUNDS) -> bool:
    return holds(matcher_of(schema, bounds), answer)


# --- objects are closed -----------------------------------------------------------------------------------------------

USER = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name"]}


def test_an_object_that_lists_its_properties_has_no_others() -> None:
    assert allows(USER, '{"name":"Ann","age":5}')
    assert not allows(USER, '{"name":"Ann","size":5}')


def test_unless_the_schema_says_so() -> None:
    assert allows(USER | {"additionalProperties": {"type": "integer"}}, '{"name":"Ann","size":5}')
    assert allows({"type": "object"}, '{"size":[5,{"a":null}]}')


def test_objects_of_all_of_are_one_closed_object() -> None:
    sized = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
    both = {"allOf": [{"$ref": "#/$defs/User"}, sized], "$defs": {"User": USER}}
    assert allows(both, '{"name":"Ann","age":5,"size":1}')
    assert not allows(both, '{"name":"Ann","age":5}')
    assert not allows(both, '{"name":"Ann","age":5,"size":1,"more":1}')


# --- layout and bounds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "is_allowed"), [
    ('{"name":"Ann","age":5}', True),
    ('{"name": "Ann", "age": 5}', True),
    ('{"name":  "Ann"}', False),
    ('{\n"name":"Ann"}', False),
    ('{ "name":"Ann"}', False),
])  # fmt: skip
def test_json_is_compact_with_a_space_where_people_put_one(answer: str, is_allowed: bool) -> None:
    assert allows(USER, answer) == is_allowed


@pytest.mark.parametrize(
    ("schema", "longest", "longer"),
    [
        ({"type": "string"}, f'"{"x" * 1024}"', f'"{"x" * 1025}"'),
        ({"type": "string", "minLength": 2000}, f'"{"x" * 2000}"', f'"{"x" * 2001}"'),
        ({"type": "string", "maxLength": 3000}, f'"{"x" * 3000}"', f'"{"x" * 3001}"'),
        ({"type": "integer"}, str(2**53 - 1), str(2**53)),
        ({"type": "integer", "minimum": 2**60}, str(2**60), str(2**60 + 1)),
        ({"type": "number"}, "-0.123456789", "-0.1234567891"),
        ({"type": "array", "items": {"const": 1}}, f"[{','.join('1' * 128)}]", f"[{','.join('1' * 129)}]"),
        ({"type": "object"}, f'{{"{"k" * 64}":1}}', f'{{"{"k" * 65}":1}}'),
    ],
)
def test_what_has_no_bound_gets_one(schema: Any, longest: str, longer: str) -> None:
    assert allows(schema, longest)
    assert not allows(schema, longer)


@pytest.mark.parametrize(
    ("bounds", "schema", "longest", "longer"),
    [
        (SchemaConfig(text_length=3), {"type": "string"}, '"abc"', '"abcd"'),
        (SchemaConfig(largest_integer=99), {"type": "integer"}, "-99", "100"),
        (SchemaConfig(num_items=2), {"type": "array", "items": {"type": "null"}}, "[null, null]", "[null, null, null]"),
        (
            SchemaConfig(num_properties=1),
            {"additionalProperties": {"type": "null"}, "type": "object"},
            '{"a": null}',
            '{"a": null, "b": null}',
        ),
    ],
)
def test_the_operator_chooses_the_bounds(bounds: SchemaConfig, schema: Any, longest: str, longer: str) -> None:
    assert allows(schema, longest, bounds)
    assert not allows(schema, longer, bounds)


# --- oneOf ------------------------------------------------------------------------------------------------------------


def pet(kind: str, **properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": {"const": kind}} | properties, "required": ["kind", *properties]}


CAT, DOG = pet("cat", lives={"type": "integer"}), pet("dog", name={"type": "string"})


@pytest.mark.parametrize("alternatives", [
    [{"type": "string"}, {"type": "null"}],
    [{"const": 1}, {"const": 2}],
    [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
    [USER, {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}],
])  # fmt: skip
def test_alternatives_that_exclude_each_other_are_enforced(alternatives: list[Any]) -> None:
    matcher_of({"oneOf": alternatives, "$defs": {"Cat": CAT, "Dog": DOG}})


def test_alternatives_that_may_both_hold_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"alternatives 1 and 2 of oneOf may both hold.*\(at #/properties/x/oneOf\)"):
        prepared('{"properties":{"x":{"oneOf":[{"type":"integer"},{"type":"number"}]}}}')


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", INSTEAD)
def test_a_keyword_that_cannot_be_enforced_is_refused_with_what_to_write_instead(keyword: str) -> None:
    with pytest.raises(SchemaError) as caught:
        prepared(json.dumps({"type": "array", "items": {keyword: {"type": "string"}}}))
    assert str(caught.value) == f"{keyword} can't be enforced: {INSTEAD[keyword]} (at #/items)"


@pytest.mark.parametrize(("schema", "problem"), [
    ("{", "it is not JSON"),
    ("[]", "a schema is a JSON object"),
    ('{"$ref":"#"}', "would never end"),
    ('{"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}}', "would never end"),
    ('{"$ref":"https://example.com/a.json"}', "names nothing in this schema"),
    ('{"type":"text"}', "it must be one of array, boolean"),
    ('{"type":"string","maxLength":"9"}', "it must be a whole number (at #/maxLength)"),
    ('{"type":"object","required":"a"}', "it must be a list of names"),
    ('{"type":"object","properties":[]}', "it must be an object of schemas"),
    ('{"anyOf":[]}', "it must be a list that isn't empty"),
    ('{"items":' * 70 + "{}" + "}" * 70, "nested deeper"),
])  # fmt: skip
def test_a_schema_that_cannot_be_used_is_refused_in_words(schema: str, problem: str) -> None:
    with pytest.raises(SchemaError) as caught:
        prepared(schema)
    assert problem in str(caught.value)


def test_a_schema_may_lead_back_to_itself_where_it_need_not() -> None:
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert allows(tree, '{"children":[{"children":[]},{}]}')


# --- the published test suite -----------------------------------------------------------------------------------------


def test_no_answer_that_breaks_a_schema_of_the_published_suite_is_allowed() -> None:
    broken = []
    for case in SUITE:
        try:
            matcher = matcher_of(case["schema"])
        except GrammarError:
            continue
        broken += [
            (case["keyword"], case["description"], test["description"])
            for test in case["tests"]
            if not test["valid"] and holds(matcher, compact(test["data"]))
        ]
    assert broken == []


def test_the_table_of_keywords_in_the_documentation_is_what_the_published_suite_finds() -> None:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for case in SUITE:
        counts[case["keyword"]][1] += 1
        try:
            matcher_of(case["schema"])
        except GrammarError:
            continue
        counts[case["keyword"]][0] += 1
    rows = [f"| {keyword} | {enforced} of {total} |" for keyword, (enforced, total) in counts.items()]
    documented = Path("docs/structured-answers.md").read_text("utf-8").splitlines()
    assert [row for row in rows if row not in documented] == []


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
