"""GET /openapi.json and GET /docs: the API's own description.

The page is plain HTML made from the document: it needs no scripts, so it works offline and loads nothing from others.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from foveal.http.endpoint import Endpoint
from foveal.http.responses import json_response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.endpoint import Context

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "td{vertical-align:top;padding:.2rem 1rem .2rem 0;border-top:1px solid #ccc}"
    "pre{background:#f4f4f4;padding:.7rem;overflow:auto}"
)
HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}


async def get_openapi_document(request: Request, context: Context) -> ASGIApp:
    return json_response(context.document())


async def get_docs(request: Request, context: Context) -> ASGIApp:
    return Response("".join(_page(context.document())), headers=HEADERS, media_type="text/html")


ENDPOINTS = (  # open: they say nothing about the models or their users
    Endpoint("/openapi.json", get_openapi_document, access="open"),
    Endpoint("/docs", get_docs, access="open"),
)


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info, schemas = document["info"], document["components"]["schemas"]
    yield f"<!doctype html><meta charset=utf-8><title>{escape(info['title'])}</title><style>{STYLE}</style>"
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])} "
    yield 'The same as <a href="/openapi.json">OpenAPI</a>.</p>'
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation.get('description', ''))}</p>"
            yield from _body(operation, schemas)
            yield from _responses(operation)


def _body(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    if "requestBody" not in operation:
        return
    body = operation["requestBody"]["content"]["application/json"]
    schema = schemas[body["schema"]["$ref"].rpartition("/")[2]]
    yield f"<pre>{escape(json.dumps(body['example'], indent=2))}</pre><table>"
    for name, field in schema.get("properties", {}).items():
        yield f"<tr><td><code>{escape(name)}</code><td>{escape(_type(field))}<td>{escape(field.get('description', ''))}"
    yield "</table>"


def _responses(operation: Mapping[str, Any]) -> Iterator[str]:
    yield "<table>"
    for status, response in operation["responses"].items():
        yield f"<tr><td><code>{status}</code><td>{escape(response['description'])}"
    yield "</table>"


def _type(field: Mapping[str, Any]) -> str:
    """A field's type and range in a few words; null is left out, since it means absent everywhere."""
    members = [member for member in field.get("anyOf", field.get("oneOf", [])) if member.get("type") != "null"]
    if members:
        return " or ".join(map(_type, members))
    if "$ref" in field:
        return "object"
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    name = f"list of {_type(field['items'])}" if "items" in field else field.get("type", "any")
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    return f"{name}, {low} to {high}" if low is not None and high is not None else name
