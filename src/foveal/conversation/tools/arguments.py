"""The grammar of arguments that are one JSON object.

Compiling a type of values takes up to 20 ms, and a request may have a hundred tools. So a plain object is written
property by property, and values of the same schema are one part of the grammar, whichever tools have them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from foveal.conversation.tools.lark import Lark, in_order, quoted
from foveal.types import Grammar, Tool

_DEFINITIONS = "$defs", "definitions"
_PLAIN = {"type", "properties", "required", "additionalProperties", *_DEFINITIONS}
_NOTES = {"$schema", "title", "description", "default", "examples"}
_MAX_DEPTH = 8  # of objects that are written out
_SPACE = '" "?'
_COMMA = f'"," {_SPACE}'


def arguments(tool: Tool, schema: Any, root: Mapping[str, Any], lark: Lark) -> str:
    """An expression for a value of this schema, which stands in the tool's schema `root`."""
    if isinstance(schema, dict):
        schema = {key: part for key, part in schema.items() if key not in _NOTES}  # only the model reads them
        if '"$ref"' in json.dumps(schema):
            schema |= {key: root[key] for key in _DEFINITIONS if key in root}
    text = json.dumps(schema, ensure_ascii=False)
    return lark.part(Grammar("arguments", text, source=f"the parameters of {tool.name}", is_strict=tool.is_strict))


def json_object(tool: Tool, root: Mapping[str, Any], lark: Lark) -> str:
    """An expression for an object of the schema `root`."""

    def value(schema: Any, depth: int) -> str:
        if depth == _MAX_DEPTH or not _is_plain(schema):
            return arguments(tool, schema, root, lark)
        needed = schema.get("required", [])
        entries = [
            (f"{quoted(json.dumps(name, ensure_ascii=False) + ':')} {_SPACE} {value(part, depth + 1)}", name in needed)
            for name, part in schema["properties"].items()
        ]
        return f'"{{" {in_order(entries, _COMMA, lark)} "}}"'

    return value(root, 0)


def _is_plain(schema: Any) -> bool:
    """Whether nothing but its properties makes an object valid, each of which can be looked at alone."""
    return (
        isinstance(schema, dict)
        and schema.get("type") == "object"
        and schema.keys() <= _PLAIN | _NOTES
        and isinstance(properties := schema.get("properties"), dict)
        and len(properties) > 0
        and isinstance(needed := schema.get("required", []), list)
        and all(name in properties for name in needed)
        and schema.get("additionalProperties", False) is False
        and _refers_to_definitions(schema)
    )


def _refers_to_definitions(schema: Mapping[str, Any]) -> bool:
    """A reference to another place would lead out of the part that it stands in."""
    text = json.dumps(schema)
    known = sum(text.count(f'"$ref": "#/{key}/') for key in _DEFINITIONS)
    return text.count('"$ref"') == known
