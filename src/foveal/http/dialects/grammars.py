"""A JSON schema of a request -> Grammar. Whether a schema can be enforced is checked later."""

from __future__ import annotations

import msgspec

from foveal.errors import InvalidRequest
from foveal.types import Grammar

MAX_GRAMMAR_BYTES = 64 * 1024
ANY_OBJECT = Grammar("json_schema", '{"type":"object"}')


def schema_grammar(schema: object, param: str) -> Grammar:
    """`schema`: as an object or as text. `param`: the field that it came in. Raises InvalidRequest."""
    text = schema if isinstance(schema, str) else msgspec.json.encode(schema).decode()
    return bounded(Grammar("json_schema", text, source=f"This {param}"), param)


def bounded(grammar: Grammar, param: str) -> Grammar:
    """The grammar, if it is not too large. Raises InvalidRequest."""
    if len(grammar.text.encode()) > MAX_GRAMMAR_BYTES:
        raise InvalidRequest(f"A schema or grammar has at most {MAX_GRAMMAR_BYTES} bytes, field: '{param}'", param)
    return grammar
