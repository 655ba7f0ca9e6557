"""What the OpenAPI document says of an endpoint that generates: its body, and a 200 that is an object or a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.http.dialects.openai.errors import ErrorBody
from foveal.http.dialects.sse import MEDIA_TYPE
from foveal.http.endpoint import Docs

if TYPE_CHECKING:
    from pydantic import BaseModel

EXAMPLE_IMAGE = (  # a red square on white
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgAQMAAABJtOi3AAAABlBMVEX////cHh7/Hx2WAAAAF0lEQVR42mNgIBb8"
    "/8/AxMDAQCWCWAAA9BUCHTVYa/EAAAAASUVORK5CYII="
)
ERRORS = (400, 401, 402, 404, 413, 429, 500, 503)


def generation_docs(body: type[BaseModel], example: object, whole: type, chunk: type) -> Docs:
    """The documentation of a 200 that is either one `whole` object or a stream of `chunk` events."""
    return Docs(
        tag="generation",
        description=f"One object; or, with stream: true, an event stream: `data: {chunk.__name__}` lines, each with "
        "one choice; the last one with a finish_reason carries usage and perf_metrics; then `data: [DONE]`.",
        content={"application/json": whole, MEDIA_TYPE: {"schema": _event_schema(chunk)}},
        errors=ERRORS,
        body=body,
        example=example,
        more_schemas=(chunk,),
    )


def _event_schema(chunk: type) -> dict[str, object]:
    """The schema of one event, which is what OpenAPI before 3.2 says of a stream."""
    payload = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in (chunk.__name__, ErrorBody.__name__)]}
    json = {"type": "string", "contentMediaType": "application/json", "contentSchema": payload}
    return {
        "type": "object",
        "properties": {"data": {"anyOf": [{"const": "[DONE]"}, json]}},
        "required": ["data"],
    }
