"""Errors on the wire: every failure becomes the one error body, and nothing of our insides goes with it.

Knows the shape of an error; what went wrong is in `foveal.errors`. Logging is for whoever catches the exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired

import msgspec
from fastapi import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from typing_extensions import TypedDict

from foveal.errors import GenerationFailed, InvalidRequest, NotFound, RequestError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request


ERROR_DESCRIPTIONS = {
    400: "Something about the request or one of its images; the message says what and what to do.",
    401: "The API key is missing or wrong.",
    402: "The spending limit of the API key is reached.",
    403: "The API key is not the operator's.",
    404: "No such model.",
    413: "The body is over its limit.",
    429: "A limit of the API key is reached; Retry-After says when the same request will be let in.",
    500: "This request failed in the server.",
    503: "Loading, overloaded or stopping; Retry-After says when to ask again.",
}


class ErrorDetail(TypedDict):
    object: str
    type: str
    code: str
    message: str
    param: NotRequired[str]


class ErrorBody(TypedDict):
    error: ErrorDetail


class MethodNotAllowed(InvalidRequest):
    status = 405


def add_problem_responses(app: FastAPI) -> None:
    """Answer every exception that leaves a route of `app` with the error body."""
    app.add_exception_handler(RequestError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_client_disconnect)
    app.add_exception_handler(Exception, _on_error)


def as_request_error(error: Exception) -> RequestError:
    """The error as the client may see it. What is not a RequestError is our own bug, and told as a fixed sentence."""
    if isinstance(error, RequestError):
        return error
    return GenerationFailed("The server failed on this request. Its log says why, under this answer's x-request-id.")


def problem_body(error: RequestError) -> ErrorBody:
    detail: ErrorDetail = {"object": error.object, "type": error.type, "code": error.code, "message": error.message}
    if error.param is not None:
        detail["param"] = error.param
    return {"error": detail}


def problem_response(error: RequestError) -> Response:
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status == 413:
        headers["connection"] = "close"  # the rest of the body is not read
    return Response(msgspec.json.encode(problem_body(error)), error.status, headers, "application/json")


def _on_error(request: Request, error: Exception) -> Response:
    return problem_response(as_request_error(error))


def _on_http_exception(request: Request, error: Exception) -> Response:
    """The framework's own errors: no such path, wrong method."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        response = problem_response(MethodNotAllowed("This path does not take this method; /docs says what it takes."))
        response.headers.update(error.headers or {})
        return response
    return problem_response(NotFound("There is nothing at this path; /docs lists what there is."))


def _on_client_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


def problem_docs(*statuses: int) -> dict[int | str, dict[str, object]]:
    """What the OpenAPI document says of an operation's errors; app.py adds the schema."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}}}
    known: dict[int | str, str] = {status: ERROR_DESCRIPTIONS[status] for status in statuses}
    known["default"] = "Any other error, in the same form."
    return {status: {"description": text, "content": content} for status, text in known.items()}
