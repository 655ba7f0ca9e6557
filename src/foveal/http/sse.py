"""Server-sent events as the API's clients read them: `data:` lines only, no comments, no event names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

from foveal.http.problems import ErrorBody
from foveal.http.replies import to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.types import Send

DONE = b"data: [DONE]\n\n"


def event(payload: object) -> bytes:
    """One event. JSON has no bare line ends, so one line is enough."""
    return b"data: " + to_json(payload) + b"\n\n"


async def send_events(send: Send, headers: Mapping[str, str], events: AsyncIterator[bytes]) -> None:
    """A whole 200 response, each event sent as soon as it is there."""
    raw = MutableHeaders({"content-type": "text/event-stream", "cache-control": "no-cache", **headers}).raw
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    async for data in events:
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def stream_docs(whole: type, chunk: type) -> dict[str, object]:
    """What the OpenAPI document says of a 200 that is either one `whole` object or a stream of `chunk` events."""
    return {
        "description": f"One object; or, with stream: true, an event stream: `data: {chunk.__name__}` lines, each with "
        "one choice; the last one with a finish_reason carries usage and perf_metrics; then `data: [DONE]`.",
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{whole.__name__}"}},
            "text/event-stream": {"schema": _event_docs(chunk)},
        },
    }


def _event_docs(chunk: type) -> dict[str, object]:
    """The schema of one event, which is what OpenAPI before 3.2 says of a stream."""
    payload = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in (chunk.__name__, ErrorBody.__name__)]}
    json = {"type": "string", "contentMediaType": "application/json", "contentSchema": payload}
    return {
        "type": "object",
        "properties": {"data": {"anyOf": [{"const": "[DONE]"}, json]}},
        "required": ["data"],
    }
