"""What the OpenAPI document says of every dialect's generating endpoints."""

from __future__ import annotations

from foveal.http.dialects.sse import MEDIA_TYPE
from foveal.http.endpoint import Docs

EXAMPLE_IMAGE = (  # a red square on white
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgAQMAAABJtOi3AAAABlBMVEX////cHh7/Hx2WAAAAF0lEQVR42mNgIBb8"
    "/8/AxMDAQCWCWAAA9BUCHTVYa/EAAAAASUVORK5CYII="
)
EXAMPLE_IMAGE_URL = f"data:image/png;base64,{EXAMPLE_IMAGE}"
ERRORS = (400, 401, 402, 404, 413, 429, 500)


def streamed_docs(
    body: type, example: object, whole: type, events: tuple[type, ...], description: str, overloaded: int = 503
) -> Docs:
    """The documentation of a 200 that is either one `whole` object or a stream of `events`, each of one of the types.

    `overloaded`: the status of this dialect.
    """
    return Docs(
        tag="generation",
        description=description,
        content={"application/json": whole, MEDIA_TYPE: {"schema": event_schema(events)}},
        errors=(*ERRORS, overloaded),
        body=body,
        example=example,
        more_schemas=events,
    )


def event_schema(events: tuple[type, ...], *texts: str) -> dict[str, object]:
    """The schema of one event, which is what OpenAPI before 3.2 says of a stream. `texts`: data that is no JSON."""
    payload = {"anyOf": [{"$ref": f"#/components/schemas/{event.__name__}"} for event in events]}
    json = {"type": "string", "contentMediaType": "application/json", "contentSchema": payload}
    return {
        "type": "object",
        "properties": {"data": {"anyOf": [*({"const": text} for text in texts), json]}},
        "required": ["data"],
    }
