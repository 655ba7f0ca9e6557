"""JSON responses, and errors as responses that show no internals of the server.

The dialect writes an error's body. Errors are logged where they are caught, not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from foveal.errors import GenerationFailed, MethodNotAllowed, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from foveal.http.dialects.dialect import Dialect


def to_json(payload: object) -> bytes:
    return msgspec.json.encode(payload)


def json_response(payload: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    return Response(to_json(payload), status, headers, "application/json")


def as_request_error(error: Exception) -> RequestError:
    """The error as the client may see it. One that is no RequestError is our own bug, and becomes a fixed sentence."""
    if isinstance(error, RequestError):
        return error
    return GenerationFailed("The server failed on this request. Its log says why, under this answer's x-request-id.")


def error_response(error: RequestError, dialect: Dialect) -> Response:
    status = dialect.statuses.get(error.status, error.status)
    return json_response(dialect.error_body(error), dict(_headers(error, dialect)), status)


def _headers(error: RequestError, dialect: Dialect) -> Iterator[tuple[str, str]]:
    if error.retry_after_s is not None:
        yield "retry-after", str(error.retry_after_s)
    if error.status == 401 and (schemes := [header.scheme for header in dialect.key_headers if header.scheme]):
        yield "www-authenticate", ", ".join(schemes)
    if error.status == 413:
        yield "connection", "close"  # the rest of the body is not read
    if isinstance(error, MethodNotAllowed):
        yield "allow", ", ".join(error.allowed)
