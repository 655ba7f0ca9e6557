"""JSON schemas as clients send them -> schemas whose answers end, in the keywords that llguidance enforces.

Three changes, all of which only remove answers that the schema allows:
- an object that lists its properties has no others, unless the schema says so (as OpenAI's strict mode has it);
- what has no bound gets one (`config.SchemaConfig`), so that a small model comes to an end;
- alternatives of `oneOf` that exclude each other become `anyOf`.

What can't be enforced is refused, with its place in the schema and what to write instead. A schema that is not strict
goes without it: then the answers are those of a wider schema.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from foveal.config import DEFAULT_BOUNDS, SchemaConfig
from foveal.engine.json_schema_facts import (
    ALTERNATIVES,
    COUNTS,
    ENFORCED,
    FORMATS,
    INSTEAD,
    MAX_DEPTH,
    OF_ARRAYS,
    OF_OBJECTS,
    TYPES,
    Endings,
    Place,
    Schema,
    SchemaError,
    check,
    is_closed,
    is_object,
    kinds_of,
    target,
    types_of,
    values_of,
)

KEY = "^[^\\x00-\\x1f]{0,64}$"  # that the schema doesn't name
NUMBER_STEP = 1e-9  # where the schema has none, so a fraction has at most 9 digits
ANY_VALUE = "any-value"  # names of definitions that are added
ANY_NUMBER = {"integer": "any-integer", "number": "any-number"}  # llguidance takes 5 ms for each that is written out


def prepared(text: str, bounds: SchemaConfig = DEFAULT_BOUNDS, is_strict: bool = True) -> dict[str, Any]:
    """The schema in `text`, ready for llguidance. Raises SchemaError."""
    try:
        root = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise SchemaError(f"it is not JSON: {error}") from None
    if root is True:
        root = {}
    if not isinstance(root, dict):
        raise SchemaError("a schema is a JSON object")
    return _Preparation(root, bounds, is_strict).result()


class _Preparation:
    def __init__(self, root: dict[str, Any], bounds: SchemaConfig, is_strict: bool) -> None:
        self._root = root
        self._bounds = bounds
        self._is_strict = is_strict
        self._added: dict[str, Schema] = {}

    def result(self) -> dict[str, Any]:
        made: dict[str, Any] = self._schema(self._root, Place())
        if not Endings(self._root).of(self._root):
            raise SchemaError("its answers would never end: a $ref leads back to itself and there is no other way")
        return {**made, "$defs": made.get("$defs", {}) | self._added} if self._added else made

    def _schema(self, schema: Schema, place: Place) -> Schema:
        if place.depth > MAX_DEPTH:
            raise place.fail(f"schemas are nested deeper than {MAX_DEPTH}")
        if schema is True:
            return self._any()
        if schema is False:
            return False
        if not isinstance(schema, dict):
            raise place.fail("a schema is an object, true or false")
        schema = self._checked(schema, place)
        made = {key: value for key, value in schema.items() if key in ENFORCED}  # the others only annotate
        if schema.get("nullable") is True and isinstance(made.get("type"), str):  # OpenAPI's
            made["type"] = [made["type"], "null"]
        for key in ("$defs", "definitions"):
            if key in made:
                made[key] = {name: self._schema(part, place.at(key, name)) for name, part in made[key].items()}
        return self._bounded(self._with_alternatives(made, place), place)

    def _checked(self, schema: dict[str, Any], place: Place) -> dict[str, Any]:
        """The schema's enforceable part; the whole of it, if it is strict."""
        if not self._is_strict:
            schema = {key: value for key, value in schema.items() if key not in INSTEAD}
            if "$ref" in schema and target(self._root, schema["$ref"]) is None:
                del schema["$ref"]
        check(schema, self._root, place)
        return schema

    def _with_alternatives(self, made: dict[str, Any], place: Place) -> dict[str, Any]:
        if "allOf" in made:
            made = self._merged(made, place)
        if "oneOf" in made and self._is_strict:
            self._check_exclusive(made["oneOf"], place.at("oneOf"))
        for key in ("anyOf", "oneOf"):
            if key in made:
                made[key] = [self._schema(part, place.at(key, i)) for i, part in enumerate(made[key])]
        if "oneOf" in made and "anyOf" not in made:
            made["anyOf"] = made.pop("oneOf")
        return made

    # --- allOf --------------------------------------------------------------------------------------------------------

    def _merged(self, schema: dict[str, Any], place: Place) -> dict[str, Any]:
        """`allOf` of objects as one object, since none of them knows the properties of the others."""
        members = [self._resolved(part, place.at("allOf", i)) for i, part in enumerate(schema["allOf"])]
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        if rest.keys() & {"additionalProperties", "items"}:
            raise place.fail("additionalProperties and items don't look into allOf: write one schema of all parts")
        if len(members) == 1 and not members[0].keys() & rest.keys():
            return members[0] | rest
        parts = [*members, rest]
        names = [name for part in parts for name in part.get("properties", {})]
        mergeable = {"type", "properties", "required", "$defs", "definitions"}
        if len(set(names)) < len(names) or any(part.keys() & ENFORCED - mergeable for part in parts):
            open_parts = (replace(place.at("allOf", i), closes=False) for i in range(len(members)))
            return {**rest, "allOf": [self._schema(part, at) for part, at in zip(members, open_parts, strict=True)]}
        merged: dict[str, Any] = {**rest, "type": "object", "properties": {}, "required": []}
        for part in parts:
            merged["properties"] |= part.get("properties", {})
            merged["required"] += part.get("required", [])
        return merged

    def _resolved(self, schema: Schema, place: Place) -> dict[str, Any]:
        """What a chain of references leads to."""
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, dict):
                break
            checked = self._checked(schema, place)
            if checked.keys() & ENFORCED != {"$ref"}:
                return checked
            schema = target(self._root, schema["$ref"])
        return {}

    # --- oneOf --------------------------------------------------------------------------------------------------------

    def _check_exclusive(self, members: list[Schema], place: Place) -> None:
        resolved = [self._resolved(member, place.at(i)) for i, member in enumerate(members)]
        for i, one in enumerate(resolved):
            for j in range(i):
                if not self._exclude(resolved[j], one, place):
                    raise place.fail(
                        f"alternatives {j + 1} and {i + 1} of oneOf may both hold: use anyOf, or give each a constant "
                        "property of its own"
                    )

    def _exclude(self, one: dict[str, Any], other: dict[str, Any], place: Place) -> bool:
        """Whether no value can be both: by type, by constant, or by a required property that the other doesn't have."""
        if (values := values_of(one)) is not None and (others := values_of(other)) is not None:
            return not any(value in others for value in values)
        if not kinds_of(one) & kinds_of(other):
            return True
        if not (is_object(one) and is_object(other)):
            return False
        for name in {*one.get("required", ())} & {*other.get("required", ())}:
            ours, theirs = (self._resolved(side.get("properties", {}).get(name, {}), place) for side in (one, other))
            if place.depth < MAX_DEPTH and self._exclude(ours, theirs, place.at(name)):
                return True
        return any(
            name not in b.get("properties", {}) and is_closed(b)
            for a, b in ((one, other), (other, one))
            for name in a.get("required", ())
        )

    # --- bounds -------------------------------------------------------------------------------------------------------

    def _bounded(self, schema: dict[str, Any], place: Place) -> Schema:
        if schema.keys() & {"const", "enum", "$ref", *ALTERNATIVES} and not schema.keys() & {*OF_OBJECTS, *OF_ARRAYS}:
            return schema
        types = types_of(schema)
        if types == TYPES:
            return {**schema, **self._any()}
        if schema.keys() == {"type"} and (name := ANY_NUMBER.get(str(schema["type"]))) is not None:
            return self._any_number(name, types)
        made = {**schema, "type": sorted(types)} | {key: int(schema[key]) for key in schema.keys() & COUNTS}
        if "object" in types:
            self._bound_object(made, place)
        if "array" in types:
            self._bound_array(made, place)
        if made.get("format") not in FORMATS:
            made.pop("format", None)
        if "string" in types and not made.keys() & {"pattern", "format"}:
            made.setdefault("maxLength", max(self._bounds.text_length, made.get("minLength", 0)))
        if types & {"integer", "number"}:
            self._bound_number(made, types)
        return made

    def _bound_object(self, made: dict[str, Any], place: Place) -> None:
        for key in made.keys() & {"properties", "patternProperties"}:
            made[key] = {name: self._schema(part, place.at(key, name)) for name, part in made[key].items()}
        is_listed = bool(made.get("properties")) or bool(made.get("patternProperties"))
        others = made.get("additionalProperties", not (is_listed and place.closes))
        if others is False:
            made["additionalProperties"] = False
            return
        if not place.closes and "additionalProperties" not in made:
            return
        part = self._schema(others, place.at("additionalProperties"))
        if is_listed:
            made["additionalProperties"] = part
        else:  # a pattern bounds the keys, too
            made |= {"patternProperties": {KEY: part}, "additionalProperties": False}
        is_countable = {*made.get("properties", ())} <= {*made.get("required", ())}
        if place.closes and is_countable:  # else llguidance can't count them
            limit = self._bounds.num_properties + len(made.get("properties", ()))
            made.setdefault("maxProperties", max(limit, made.get("minProperties", 0)))

    def _bound_array(self, made: dict[str, Any], place: Place) -> None:
        if "prefixItems" in made:
            parts = enumerate(made["prefixItems"])
            made["prefixItems"] = [self._schema(part, place.at("prefixItems", i)) for i, part in parts]
        made["items"] = self._schema(made.get("items", True), place.at("items"))
        limit = max(self._bounds.num_items, made.get("minItems", 0), len(made.get("prefixItems", ())))
        if made["items"] is not False:
            made.setdefault("maxItems", limit)

    def _bound_number(self, made: dict[str, Any], types: frozenset[str]) -> None:
        limit = self._bounds.largest_integer
        if not made.keys() & {"minimum", "exclusiveMinimum"}:
            made["minimum"] = min(-limit, made.get("maximum", 0), made.get("exclusiveMaximum", 0) - 1)
        if not made.keys() & {"maximum", "exclusiveMaximum"}:
            made["maximum"] = max(limit, made.get("minimum", 0), made.get("exclusiveMinimum", 0) + 1)
        if "number" in types:
            made.setdefault("multipleOf", NUMBER_STEP)

    # --- any value ----------------------------------------------------------------------------------------------------

    def _any(self) -> dict[str, Any]:
        if ANY_VALUE not in self._added:
            self._added[ANY_VALUE] = True  # it leads back to itself
            parts = [self._bounded({"type": name}, Place()) for name in sorted(TYPES - {"integer"})]
            self._added[ANY_VALUE] = {"anyOf": parts}
        return {"$ref": f"#/$defs/{ANY_VALUE}"}

    def _any_number(self, name: str, types: frozenset[str]) -> dict[str, Any]:
        if name not in self._added:
            self._added[name] = {"type": sorted(types)}
            self._bound_number(self._added[name], types)
        return {"$ref": f"#/$defs/{name}"}
