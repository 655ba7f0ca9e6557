"""Facts of JSON schemas: keywords, what can't be enforced, where references lead, which schemas have an end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

Schema = Any  # a mapping of keywords, or True or False

MAX_DEPTH = 64  # of schemas inside schemas
# llguidance enforces these; any other format only annotates (JSON Schema 2020-12, "format").
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"}
CASES = "write the cases as alternatives of anyOf"
INSTEAD = {
    "not": "say what is allowed, with enum, pattern or anyOf",
    "if": CASES,
    "then": CASES,
    "else": CASES,
    "dependentRequired": CASES,
    "dependentSchemas": CASES,
    "dependencies": CASES,
    "uniqueItems": "leave it out, and remove repeated items from the answer",
    "contains": "list the items in prefixItems, or leave it out",
    "propertyNames": "use patternProperties with additionalProperties false",
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
    "$dynamicRef": "use $ref",
    "$recursiveRef": "use $ref",
}
COUNTS = {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
OF_OBJECTS = {"properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"}
OF_ARRAYS = {"items", "prefixItems", "minItems", "maxItems"}
OF_STRINGS = {"minLength", "maxLength", "pattern", "format"}
OF_NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
ALTERNATIVES = ("anyOf", "oneOf", "allOf")
MAPPINGS = ("properties", "patternProperties", "$defs", "definitions")
ENFORCED = {
    "type",
    "const",
    "enum",
    "$ref",
    *ALTERNATIVES,
    *MAPPINGS,
    *OF_OBJECTS,
    *OF_ARRAYS,
    *OF_STRINGS,
    *OF_NUMBERS,
}
TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})


class SchemaError(ValueError):
    """The schema can't be enforced. The message is for the client."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the schema something stands, and whether its objects are closed there."""

    path: str = "#"
    depth: int = 0
    closes: bool = True

    def at(self, *names: object) -> Place:
        return replace(self, path="/".join([self.path, *map(str, names)]), depth=self.depth + 1)

    def fail(self, problem: str) -> SchemaError:
        return SchemaError(f"{problem} (at {self.path[:100]})")


def check(schema: Mapping[str, Any], root: dict[str, Any], place: Place) -> None:
    """Raises SchemaError for what can't be enforced, and for keywords of a wrong type."""
    for keyword in schema.keys() & INSTEAD.keys():
        if (keyword, schema[keyword]) != ("uniqueItems", False):
            raise place.fail(f"{keyword} can't be enforced: {INSTEAD[keyword]}")
    for keywords, is_right, right in SHAPES:
        for keyword in schema.keys() & keywords:
            if not is_right(schema[keyword]):
                raise place.at(keyword).fail(f"it must be {right}")
    if not types_of(schema) <= TYPES:
        raise place.at("type").fail(f"it must be one of {', '.join(sorted(TYPES))}, or a list of them")
    if "$ref" in schema and target(root, schema["$ref"]) is None:
        raise place.fail(f"$ref {str(schema['$ref'])[:80]!r} names nothing in this schema: move it into $defs")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return _is_number(value) and value in range(1 << 31)


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _is_list_of_some(value: object) -> bool:
    return isinstance(value, list) and value != []


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


SHAPES: tuple[tuple[Set[str], Callable[[object], bool], str], ...] = (
    (COUNTS, _is_count, "a whole number"),
    (OF_NUMBERS, _is_number, "a number"),
    ({*MAPPINGS}, _is_mapping, "an object of schemas"),
    ({*ALTERNATIVES, "prefixItems", "enum"}, _is_list_of_some, "a list that isn't empty"),
    ({"required"}, _are_names, "a list of names"),
    ({"pattern", "format"}, _is_text, "a text"),
)


class Endings:
    """Which schemas have an answer that ends: the least solution, since a `$ref` may lead back to where it stands."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._known: dict[str, bool] = {}
        known: dict[str, bool] | None = None
        while known != self._known:
            known = dict(self._known)
            self.of(root)
            for reference in known:
                self._known[reference] = self.of(target(root, reference))

    def of(self, schema: Schema, depth: int = 0) -> bool:
        if not isinstance(schema, dict) or schema.keys() & {"const", "enum"} or depth > MAX_DEPTH:
            return True
        if "$ref" in schema:
            return self._known.setdefault(str(schema["$ref"]), False)
        parts = {key: [self.of(part, depth + 1) for part in schema.get(key) or [True]] for key in ALTERNATIVES}
        if not (any(parts["anyOf"]) and any(parts["oneOf"]) and all(parts["allOf"])):
            return False
        types = types_of(schema)
        if types - {"object", "array"}:
            return True
        properties, items = schema.get("properties", {}), schema.get("prefixItems", [])
        needed = [properties[name] for name in schema.get("required", ()) if name in properties]
        is_object = "object" in types and all(self.of(part, depth + 1) for part in needed)
        count = int(schema.get("minItems", 0))
        rest = [schema.get("items", True)] if count > len(items) else []
        return is_object or ("array" in types and all(self.of(part, depth + 1) for part in [*items[:count], *rest]))


# --- facts of one schema ----------------------------------------------------------------------------------------------


def types_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """Without `type`, the one that its keywords speak of: that is what people mean who leave it out."""
    named = schema.get("type")
    if isinstance(named, str):
        return frozenset({named})
    if isinstance(named, list):
        return frozenset(map(str, named))
    spoken_of = {"object": OF_OBJECTS, "array": OF_ARRAYS, "string": OF_STRINGS, "number": OF_NUMBERS}
    found = frozenset(name for name, keywords in spoken_of.items() if schema.keys() & keywords)
    return found or TYPES


def kinds_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """Its types, where an integer is a number."""
    types = types_of(schema)
    return types | {"number"} if "integer" in types else types


def values_of(schema: Mapping[str, Any]) -> list[Any] | None:
    """The only values that it allows, if it lists them."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def is_object(schema: Mapping[str, Any]) -> bool:
    return types_of(schema) == {"object"}


def is_closed(schema: Mapping[str, Any]) -> bool:
    """Whether an object can't have properties beside those that are listed, once it is prepared."""
    return bool(schema.get("properties")) and schema.get("additionalProperties", False) is False


def target(root: dict[str, Any], reference: object) -> Schema | None:
    """What a JSON pointer within the schema points to (RFC 6901), or None."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    found: Any = root
    for name in unquote(reference).split("/")[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return None
    return found
