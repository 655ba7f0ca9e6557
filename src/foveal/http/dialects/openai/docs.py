"""What the OpenAPI document says of an endpoint that generates: its body, and a 200 that is an object or a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.http.dialects.docs import ERRORS, event_schema
from foveal.http.dialects.openai.errors import ErrorBody
from foveal.http.dialects.sse import MEDIA_TYPE
from foveal.http.endpoint import Docs

if TYPE_CHECKING:
    from pydantic import BaseModel


def generation_docs(body: type[BaseModel], example: object, whole: type, chunk: type) -> Docs:
    """The documentation of a 200 that is either one `whole` object or a stream of `chunk` events."""
    return Docs(
        tag="generation",
        description=f"One object; or, with stream: true, an event stream: `data: {chunk.__name__}` lines, each with "
        "one choice; the last one with a finish_reason carries usage and perf_metrics; then `data: [DONE]`.",
        content={"application/json": whole, MEDIA_TYPE: {"schema": event_schema((chunk, ErrorBody), "[DONE]")}},
        errors=(*ERRORS, 503),
        body=body,
        example=example,
        more_schemas=(chunk,),
    )
