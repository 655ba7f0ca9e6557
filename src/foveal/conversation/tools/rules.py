"""The grammar of one call: which tool, and arguments that fit its schema, in the form of the checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from foveal.conversation.tools.arguments import arguments, json_object
from foveal.conversation.tools.form import Form, Parameters
from foveal.conversation.tools.lark import Lark, any_of, in_order, quoted
from foveal.types import Tool

MAX_TEXT = 65_536  # characters of a text, as in engine.grammar
MAX_ITEMS = 128
MAX_CALLS = 32  # in one answer
_SCALARS = {"integer", "number", "boolean", "null"}


def schema_of(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments, an object. Without properties it takes none."""
    schema = msgspec.json.decode(tool.parameters)
    made = {**schema, "type": "object"} if isinstance(schema, dict) else {"type": "object"}
    if not made.get("properties") and not made.keys() & {"$ref", "anyOf", "oneOf", "allOf", "patternProperties"}:
        is_closed = "properties" in made or not isinstance(schema, dict) or not schema
        made.setdefault("additionalProperties", not is_closed)
    return made


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool that may be called."""

    name: str
    arguments: str  # an expression


def offered(form: Form, tools: Sequence[Tool], lark: Lark) -> list[Offered]:
    """The tools, with the rules of their arguments."""

    def arguments_of(tool: Tool) -> str:
        if form.parameters is None:
            return json_object(tool, schema_of(tool), lark)
        return _Written(tool, form.parameters, lark).arguments()

    return [Offered(tool.name, lark.rule(arguments_of(tool) or quoted(""))) for tool in tools]


def blocks(form: Form, tools: Sequence[Offered], lark: Lark, *, after_mark: bool, parallel: bool) -> str:
    """An expression for all calls of an answer."""
    first = _block(form, tools, lark, after_mark=after_mark, parallel=parallel)
    if form.separator is not None or not parallel:
        return first
    next_one = first if not after_mark else _block(form, tools, lark, after_mark=False, parallel=parallel)
    return f"{first} ({_text(lark, form.next_block)}{next_one}){{0,{MAX_CALLS - 1}}}"


def _block(form: Form, tools: Sequence[Offered], lark: Lark, *, after_mark: bool, parallel: bool) -> str:
    """An expression for one block of calls. `after_mark`: its mark stands there already.

    All up to the arguments of the first call is one text. In parts, a free text that may stand there would hide it.
    """
    start = form.begin.lstrip().removeprefix(form.mark) if after_mark else form.begin.lstrip()
    first = lark.rule(any_of(_call(form, tool, lark, start) for tool in tools))
    more = ""
    if form.separator is not None and parallel:
        later = lark.rule(any_of(_call(form, tool, lark, form.separator) for tool in tools))
        more = f"{later}{{0,{MAX_CALLS - 1}}} "
    return lark.rule(f"{first} {more}{_text(lark, form.end)}")


def _text(lark: Lark, text: str) -> str:
    return f"{lark.text(text)} " if text else ""


def _call(form: Form, tool: Offered, lark: Lark, start: str) -> str:
    head = lark.text(start + form.before + tool.name + form.between)
    return f"{head} {tool.arguments} {_text(lark, form.after)}"


class _Written:
    """Arguments that are written one by one, and values that are not written as JSON."""

    def __init__(self, tool: Tool, parameters: Parameters, lark: Lark) -> None:
        self._tool = tool
        self._parameters = parameters
        self._lark = lark
        self._root = schema_of(tool)
        self._rules: dict[str, str] = {}  # of references

    def arguments(self) -> str:
        schema = self._resolved(self._root)
        form, needed = self._parameters, schema.get("required", [])
        entries = []
        for name, part in schema.get("properties", {}).items():
            value = self._bare(part) if not form.quote else f"{self._value(part)} {_text(self._lark, form.after)}"
            entries.append((f"{self._lark.text(form.before + name + form.middle)} {value}", name in needed))
        return in_order(entries, _text(self._lark, form.separator), self._lark) if entries else ""

    def _bare(self, schema: Any) -> str:
        """A value and what ends it, where texts are bare."""
        schema, end = self._resolved(schema), self._parameters.after
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        if values:
            texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
            return f"{any_of(map(self._lark.text, texts))} {self._lark.text(end)}"
        if "string" not in types_of(schema, self._root):
            return f"{self._json(schema)} {self._lark.text(end)}"
        return self._lark.text_until(end, f"/{_pattern(schema)}/")

    def _value(self, schema: Any) -> str:
        schema = self._resolved(schema)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return any_of(self._value(part) for part in schema[key])
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        if values:
            return any_of(map(self._constant, values))
        types = schema.get("type", "string")
        types = [types] if isinstance(types, str) else types
        return any_of(self._of_type(kind, schema) for kind in types)

    def _of_type(self, kind: str, schema: Mapping[str, Any]) -> str:
        form = self._parameters
        if kind == "boolean":
            return any_of(map(quoted, (form.true, form.false)))
        if kind == "null":
            return quoted(form.null)
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            item = self._rule_of(schema.get("items", {"type": "string"}))
            least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", MAX_ITEMS))
            some = f'{item} ("," " "? {item}){{{max(least - 1, 0)},{max(most - 1, 0)}}}'
            return f'"[" {self._lark.rule(some if least else f"({some})?")} "]"'
        if kind == "string" and not form.escapes:
            mark = self._lark.text(form.quote)
            return f"{mark} {self._lark.text_until(form.quote, f'/{_pattern(schema)}/')}"
        return self._json({**schema, "type": kind})

    def _object(self, schema: Mapping[str, Any]) -> str:
        needed = schema.get("required", [])
        entries = [
            (f"{self._lark.text(self._key(name))} {self._rule_of(part)}", name in needed)
            for name, part in schema.get("properties", {}).items()
        ]
        if entries:
            return f'"{{" {in_order(entries, quoted(","), self._lark)} "}}"'
        key = '/"[^"\\\\\\x00-\\x1f]{1,64}": ?/' if self._parameters.escapes else "/[A-Za-z_][A-Za-z0-9_]{0,63}:/"
        one = f"{self._lark.rule(key)} {self._rule_of({'type': ['string', 'number', 'boolean', 'null']})}"
        return self._lark.rule(f'"{{" ({one} ("," " "? {one}){{0,63}})? "}}"')

    def _key(self, name: str) -> str:
        return f"{json.dumps(name, ensure_ascii=False)}: " if self._parameters.escapes else f"{name}:"

    def _constant(self, value: Any) -> str:
        form = self._parameters
        for constant, word in ((True, form.true), (False, form.false), (None, form.null)):
            if value is constant:
                return quoted(word)
        if isinstance(value, str) and not form.escapes:
            return self._lark.text(f"{form.quote}{value}{form.quote}")
        return quoted(json.dumps(value, ensure_ascii=False))

    def _rule_of(self, schema: Any) -> str:
        """A rule for a schema that may lead back to itself."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._rules:
            self._rules[key] = self._lark.reserve()
            self._lark.define(self._rules[key], self._value(schema))
        return self._rules[key]

    def _resolved(self, schema: Any) -> dict[str, Any]:
        for _ in range(16):
            if not isinstance(schema, dict):
                return {}
            if "$ref" not in schema:
                return schema
            schema = _target(self._root, str(schema["$ref"]))
        return {}

    def _json(self, schema: Mapping[str, Any]) -> str:
        return arguments(self._tool, schema, self._root, self._lark)


def types_of(schema: Any, root: Mapping[str, Any], depth: int = 0) -> set[str]:
    """The JSON types that a schema allows; all of them where it does not say."""
    if not isinstance(schema, dict) or depth > 16:
        return {"string", "object", "array", *_SCALARS}
    if "$ref" in schema:
        return types_of(_target(root, str(schema["$ref"])), root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return set().union(*(types_of(part, root, depth + 1) for part in schema[key]))
    named = schema.get("type")
    if named is None and schema.keys() & {"enum", "const"}:
        values = schema.get("enum", [schema.get("const")])
        return {"string"} if all(isinstance(value, str) for value in values) else {"string", *_SCALARS}
    if named is None:
        return {"object"} if "properties" in schema else {"string", "object", "array", *_SCALARS}
    return {named} if isinstance(named, str) else set(named)


def _target(root: Mapping[str, Any], reference: str) -> Any:
    found: Any = root
    for name in reference.split("/")[1:]:
        found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


def _pattern(schema: Mapping[str, Any]) -> str:
    """A regular expression for a bare text."""
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        start = "" if pattern.startswith("^") else r"(.|\n)*"
        end = "" if pattern.endswith("$") else r"(.|\n)*"
        return start + re.sub(r"(?<!\\)/", r"\\/", pattern.removeprefix("^").removesuffix("$")) + end
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", MAX_TEXT))
    return rf"(.|\n){{{least},{max(least, most)}}}"


_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "email": r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,4}",
    "ipv4": rf"{_BYTE}(\.{_BYTE}){{3}}",
    "uri": r"[a-z][a-z0-9+.-]{0,15}:\/\/[!-~]{1,2048}",
}
