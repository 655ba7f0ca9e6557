"""Writes docs/fields.md, every field of every request, from the OpenAPI document: python -m tests.http.fields_page."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.http.client import call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = Path(__file__).parents[2] / "docs" / "fields.md"
HEAD = """\
# Every field of every request

Made from the schemas that check requests, which are also at `/openapi.json`; a test keeps the two the same. What the
fields of chats and completions do is said at more length in [api.md](api.md), those of the other APIs in
[wires.md](wires.md). **Bold** fields are required; `null` means absent.
"""
NAMES = {"string": "text", "integer": "integer", "number": "number", "boolean": "bool", "null": "null"}
MOST = 100_000  # a bound above it is one of the machine, not of the meaning

Schema = dict[str, Any]


def page() -> str:
    document = call("GET", "/openapi.json").json()
    definitions: dict[str, Schema] = document["components"]["schemas"]
    bodies = dict.fromkeys(_bodies(document))
    parts = sorted({name for body in bodies for name in _within(body, definitions)} - bodies.keys())
    sections = [f"## {body}\n\n{_paths(document, body)}\n\n{_table(definitions[body])}" for body in bodies]
    sections += ["## Parts", *(f"### {name}\n\n{_table(definitions[name])}" for name in parts)]
    return "\n".join([HEAD, *("\n\n".join(sections).splitlines())]) + "\n"


def examples() -> Iterator[tuple[str, object]]:
    """The path and the body of each example in the document."""
    for path, operations in call("GET", "/openapi.json").json()["paths"].items():
        for operation in operations.values():
            if "requestBody" in operation:
                (content,) = operation["requestBody"]["content"].values()
                yield path.replace("{model}", "foveal-mini"), content["example"]


def _bodies(document: Schema) -> Iterator[str]:
    """The names of the bodies, in the order of their paths."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if "requestBody" in operation:
                (content,) = operation["requestBody"]["content"].values()
                if "$ref" in content["schema"]:
                    yield _name(content["schema"])


def _paths(document: Schema, body: str) -> str:
    reference = f"#/components/schemas/{body}"
    found = [
        f"`{method.upper()} {path}`"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if content["schema"].get("$ref") == reference
    ]
    return f"Of {', '.join(found)}."


def _within(name: str, definitions: Mapping[str, Schema], known: frozenset[str] = frozenset()) -> set[str]:
    """The names of all objects that a body may hold."""
    found = {reference for reference in _references(definitions[name]) if reference not in known}
    for reference in sorted(found):
        found |= _within(reference, definitions, known | found)
    return found


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield _name(schema)
        for part in schema.values():
            yield from _references(part)
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _name(schema: Schema) -> str:
    return str(schema["$ref"].rpartition("/")[2])


def _table(schema: Schema) -> str:
    if "properties" not in schema:
        return f"{_kind(schema).capitalize()}."
    rows = [_row(name, part, name in schema.get("required", ())) for name, part in schema["properties"].items()]
    return "\n".join(["| field | type and range | what it does |", "|---|---|---|", *rows])


def _row(name: str, schema: Schema, is_required: bool) -> str:
    shown = f"**`{name}`**" if is_required else f"`{name}`"
    return f"| {shown} | {_kind(schema)} | {html.escape(schema.get('description', ''), quote=False)} |"


def _kind(schema: Schema) -> str:
    """What may be sent, in words."""
    if "$ref" in schema:
        return f"[{_name(schema)}](#{_name(schema).lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            kinds = dict.fromkeys(_kind(part) for part in schema[key] if part.get("type") != "null")
            return " or ".join(kinds)
    if "const" in schema or "enum" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return ", ".join(f"`{value}`" if isinstance(value, str) else f"`{str(value).lower()}`" for value in values)
    kind: str = schema.get("type", "")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}{_range(schema, 'minItems', 'maxItems')}"
    if kind == "string":
        return f"text{_range(schema, 'minLength', 'maxLength', ' characters')}"
    if kind in ("integer", "number"):
        return kind + _range(schema, "minimum", "maximum")
    return NAMES.get(kind, "object" if kind == "object" else "any value")


def _range(schema: Schema, least: str, most: str, unit: str = "") -> str:
    low, high = (bound if abs(bound or 0) <= MOST else None for bound in (schema.get(least), schema.get(most)))
    if high is None:
        return f" from {low:g}{unit}" if low else ""
    return f", {low or 0:g} to {high:g}{unit}" if low is not None else f", up to {high:g}{unit}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
