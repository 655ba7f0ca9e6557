"""The OpenAPI document, made from the routes, the types of their bodies, and the names and keys of the dialects."""

from __future__ import annotations

import re
from inspect import getdoc
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from starlette.routing import compile_path

from foveal import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from foveal.http.dialects.dialect import Dialect, KeyHeader
    from foveal.http.endpoint import Docs
    from foveal.http.routing import Route

Document = dict[str, Any]
ERRORS = {
    400: "Something about the request or one of its images; the message says what and what to do.",
    401: "The API key is missing or wrong.",
    402: "The spending limit of the API key is reached.",
    403: "The API key is not the operator's.",
    404: "No such model.",
    413: "The body is over its limit.",
    429: "A limit of the API key is reached; Retry-After says when the same request will be let in.",
    500: "This request failed in the server.",
    503: "Loading, overloaded or stopping; Retry-After says when to ask again.",
    529: "As 503.",
}


def describe(routes: Sequence[Route], dialects: Sequence[Dialect]) -> Document:
    """The document of all routes. Its `security` is the first dialect's; operations of the others have their own."""
    documented = [route for route in routes if route.is_documented]
    types = list(dict.fromkeys(kind for route in documented for kind in _types(route)))
    schemas, definitions = _schemas(types)
    key_names = _key_names(dialects)
    paths: dict[str, Document] = {}
    for route in documented:
        path = compile_path(route.path)[1]
        operation = _operation(route, path, schemas, definitions)
        if route.dialect != dialects[0]:
            operation["security"] = _security(route.dialect, key_names)
        paths.setdefault(path, {}).update({method.lower(): operation for method in route.endpoint.methods})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Foveal",
            "description": f"Vision-language models over the {_listed(dialects)} dialects.",
            "version": __version__,
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {name: _security_scheme(header) for header, name in key_names.items()},
        },
        "security": _security(dialects[0], key_names),
    }


def _listed(dialects: Sequence[Dialect]) -> str:
    *others, last = [name for dialect in dialects for name in dialect.names]
    return f"{', '.join(others)} and {last}" if others else last


def _key_names(dialects: Sequence[Dialect]) -> dict[KeyHeader, str]:
    """The name of each header that may hold a key, among the document's security schemes."""
    headers = dict.fromkeys(header for dialect in dialects for header in dialect.key_headers)
    return {header: "key" if number == 1 else f"key{number}" for number, header in enumerate(headers, 1)}


def _security_scheme(header: KeyHeader) -> Document:
    if header.name == "authorization" and header.scheme is not None:
        return {"type": "http", "scheme": header.scheme.lower()}
    return {"type": "apiKey", "in": "header", "name": header.name}


def _security(dialect: Dialect, key_names: Mapping[KeyHeader, str]) -> list[Document]:
    """Any one of the dialect's key headers, or none: a server without keys takes requests without one."""
    return [{}, *({key_names[header]: []} for header in dialect.key_headers)]


def _types(route: Route) -> Iterator[Any]:
    """What the document needs schemas of."""
    docs = _docs(route)
    yield from (kind for kind in docs.content.values() if not isinstance(kind, dict))
    yield from docs.more_schemas
    yield route.dialect.error_schema
    if docs.body is not None:
        yield docs.body


def _schemas(types: Sequence[Any]) -> tuple[dict[Any, Document], Document]:
    """The schema of each type, most of them references, and what they refer to."""
    found, definitions = TypeAdapter.json_schemas(
        [(kind, "validation", TypeAdapter(kind)) for kind in types], ref_template="#/components/schemas/{model}"
    )
    return {kind: schema for (kind, _), schema in found.items()}, definitions["$defs"]


def _operation(route: Route, path: str, schemas: Mapping[Any, Document], definitions: Document) -> Document:
    docs, answer = _docs(route), route.endpoint.answer
    name = answer.__name__
    operation: Document = {"tags": [_tag(route)], "summary": name.replace("_", " ").title()}
    if description := getdoc(answer):
        operation["description"] = description
    operation["operationId"] = re.sub(r"\W", "_", name + path) + "_" + route.endpoint.methods[0].lower()
    in_path = re.findall(r"{(\w+)}", path)
    parameters = [*map(_parameter, in_path)]
    parameters += [{"name": each, "in": "query", "schema": schema} for each, schema in docs.query.items()]
    if parameters:
        operation["parameters"] = parameters
    if docs.body is not None:
        content = _body(docs, schemas[docs.body], definitions, in_path)
        operation["requestBody"] = {"content": {"application/json": content}, "required": True}
    operation["responses"] = {"200": _success(docs, schemas), **_errors(docs, schemas[route.dialect.error_schema])}
    return operation


def _body(docs: Docs, schema: Document, definitions: Document, in_path: Sequence[str]) -> Document:
    """The schema of a body and its example, which may both lack what the path has."""
    whole = definitions[schema["$ref"].rpartition("/")[2]]
    if not set(in_path) & set(whole.get("required", ())):
        return {"schema": schema, "example": docs.example}
    assert isinstance(docs.example, dict)
    return {
        "schema": {**whole, "required": [name for name in whole["required"] if name not in in_path]},
        "example": {name: value for name, value in docs.example.items() if name not in in_path},
    }


def _tag(route: Route) -> str:
    """The wire whose paths it has, or what kind of endpoint it is."""
    names = route.dialect.names if route.path.startswith(route.dialect.prefixes) else ()
    return " and ".join(names) or _docs(route).tag.capitalize()


def _parameter(name: str) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "title": name.title()}}


def _success(docs: Docs, schemas: Mapping[Any, Document]) -> Document:
    content = {
        media_type: kind if isinstance(kind, dict) else {"schema": schemas[kind]}
        for media_type, kind in docs.content.items()
    }
    return {"description": docs.description, "content": content}


def _errors(docs: Docs, schema: Document) -> Document:
    described = {str(status): ERRORS[status] for status in docs.errors} | {
        "default": "Any other error, in the same form."
    }
    return {
        status: {"description": text, "content": {"application/json": {"schema": schema}}}
        for status, text in described.items()
    }


def _docs(route: Route) -> Docs:
    docs = route.endpoint.docs
    assert docs is not None, "an endpoint that the document does not mention"
    return docs
