"""GET, DELETE and lists of responses that were kept. Callers find those of their account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from foveal.errors import InvalidRequest
from foveal.http.dialects.responses.replies import DeletedResponse, InputItemList, ResponseList, ResponseReply
from foveal.http.endpoint import Docs, Endpoint
from foveal.http.responses import json_response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.endpoint import Context

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
ERRORS = (400, 401, 404, 429)


async def get_response(request: Request, context: Context) -> ASGIApp:
    """A response that was kept."""
    if request.query_params.get("stream", "").lower() in ("true", "1"):
        raise InvalidRequest("A kept response is not streamed again: leave out stream, field: 'stream'", "stream")
    found = await context.kept.find(request.state.caller.account, request.path_params["response"])
    return Response(found.answer, media_type="application/json")


async def delete_response(request: Request, context: Context) -> ASGIApp:
    """Forget a response. What went on from it cannot be gone on from any more."""
    id = request.path_params["response"]
    await context.kept.delete(request.state.caller.account, id)
    deleted: DeletedResponse = {"id": id, "object": "response", "deleted": True}
    return json_response(deleted)


async def list_responses(request: Request, context: Context) -> ASGIApp:
    """The responses of the caller's account, the newest first; `limit` and `after` page through them."""
    limit = _limit(request)
    found = await context.kept.newest(request.state.caller.account, limit + 1, request.query_params.get("after"))
    return json_response(_page([msgspec.json.decode(answer.answer) for answer in found], limit))


async def list_input_items(request: Request, context: Context) -> ASGIApp:
    """What a response answered, the newest item first, or with `order=asc` the oldest; without earlier responses'."""
    found = await context.kept.find(request.state.caller.account, request.path_params["response"])
    items: list[dict[str, Any]] = msgspec.json.decode(found.input)
    if request.query_params.get("order", "desc") != "asc":
        items = items[::-1]
    ids = [item["id"] for item in items]
    after = request.query_params.get("after")
    limit = _limit(request)
    return json_response(_page(items[ids.index(after) + 1 if after in ids else 0 :][: limit + 1], limit))


def _limit(request: Request) -> int:
    asked = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (asked.isascii() and asked.isdecimal() and 1 <= int(asked[:9]) <= MAX_LIMIT):
        raise InvalidRequest(f"limit is a number from 1 to {MAX_LIMIT}, field: 'limit'", param="limit")
    return int(asked)


def _page(found: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    shown = found[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(found) > limit,
    }


PAGES: dict[str, object] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    "after": {"type": "string", "description": "the id of the last one that is known already"},
}
ORDER = {"order": {"enum": ["asc", "desc"], "default": "desc"}}


def _docs(reply: type, query: Mapping[str, object] | None = None) -> Docs:
    return Docs("responses", {"application/json": reply}, errors=ERRORS, query=query or {})


ENDPOINTS = (
    Endpoint("/responses", list_responses, docs=_docs(ResponseList, PAGES)),
    Endpoint("/responses/{response}", get_response, docs=_docs(ResponseReply)),
    Endpoint("/responses/{response}", delete_response, methods=("DELETE",), docs=_docs(DeletedResponse)),
    Endpoint("/responses/{response}/input_items", list_input_items, docs=_docs(InputItemList, PAGES | ORDER)),
)
