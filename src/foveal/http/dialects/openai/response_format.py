"""response_format -> Grammar: finds the schema in it. Whether a schema can be enforced is checked later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.errors import InvalidRequest
from foveal.http.dialects.grammars import ANY_OBJECT, bounded, schema_grammar
from foveal.types import Grammar

if TYPE_CHECKING:
    from foveal.http.dialects.openai.schemas import ResponseFormat

WRAPPING = {"name", "schema", "strict", "description"}  # OpenAI's, around a schema
PARAM = "response_format"


def grammar_for(asked: ResponseFormat | None) -> Grammar | None:
    """The grammar that constrains the answer, if any. Raises InvalidRequest."""
    if asked is None:
        return None
    given = {"schema": asked.schema_, "json_schema": asked.json_schema, "grammar": asked.grammar}
    named = [name for name, value in given.items() if value is not None]
    match asked.type, named:
        case ("text", []):
            return None
        case ("json_object", []):
            return ANY_OBJECT
        case ("json_object" | "json_schema", ["schema"]):
            return schema_grammar(asked.schema_, PARAM)
        case ("json_schema", ["json_schema"]):
            return schema_grammar(_unwrapped(asked.json_schema), PARAM)
        case ("grammar", ["grammar"]):
            return bounded(Grammar("grammar", asked.grammar or ""), PARAM)
    raise InvalidRequest(
        "response_format takes a schema in json_schema with type json_schema, or a grammar in grammar with type "
        f"grammar, and nothing beside it, field: '{PARAM}'",
        PARAM,
    )


def _unwrapped(schema: object) -> object:
    is_wrapped = isinstance(schema, dict) and "schema" in schema and schema.keys() <= WRAPPING
    return schema["schema"] if is_wrapped and isinstance(schema, dict) else schema
