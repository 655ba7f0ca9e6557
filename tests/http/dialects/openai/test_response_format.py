"""response_format: where clients put a schema or a grammar, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from foveal.errors import InvalidRequest
from foveal.http.dialects.grammars import MAX_GRAMMAR_BYTES
from foveal.http.dialects.openai.response_format import grammar_for
from foveal.http.dialects.openai.schemas import ResponseFormat
from foveal.types import Grammar

SCHEMA = {"type": "string"}
AS_TEXT = '{"type":"string"}'


def parse(**fields: Any) -> Grammar | None:
    return grammar_for(ResponseFormat.model_validate(fields))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Grammar("json_schema", '{"type":"object"}')),
        ({"type": "json_object", "schema": SCHEMA}, Grammar("json_schema", AS_TEXT)),
        ({"type": "json_schema", "json_schema": SCHEMA}, Grammar("json_schema", AS_TEXT)),
        ({"type": "json_schema", "json_schema": AS_TEXT}, Grammar("json_schema", AS_TEXT)),
        ({"type": "json_schema", "schema": SCHEMA}, Grammar("json_schema", AS_TEXT)),
        ({"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}, Grammar("json_schema", AS_TEXT)),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": True}}, Grammar("json_schema", AS_TEXT)),
        ({"type": "grammar", "grammar": 'root ::= "a"'}, Grammar("grammar", 'root ::= "a"')),
    ],
)
def test_where_the_grammar_is(fields: dict[str, Any], expected: Grammar | None) -> None:
    assert parse(**fields) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "json_schema"},
        {"type": "grammar"},
        {"type": "text", "grammar": "x"},
        {"type": "json_object", "json_schema": SCHEMA},
        {"type": "json_schema", "json_schema": SCHEMA, "schema": SCHEMA},
        {"type": "grammar", "grammar": "x", "json_schema": SCHEMA},
        {"type": "grammar", "grammar": "x" * (MAX_GRAMMAR_BYTES + 1)},
        {"type": "json_schema", "json_schema": {"const": "é" * (MAX_GRAMMAR_BYTES // 2)}},
    ],
)
def test_what_is_missing_in_the_wrong_place_or_too_large_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    assert caught.value.param == "response_format"


def test_without_a_response_format_there_is_no_grammar() -> None:
    assert grammar_for(None) is None
