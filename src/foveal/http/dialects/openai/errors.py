"""Errors as OpenAI and Fireworks write them: the body, and the type and code of each kind of error."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired

from typing_extensions import TypedDict

from foveal.errors import (
    Forbidden,
    GenerationFailed,
    NotFound,
    Overloaded,
    RequestError,
    SpendingLimitReached,
    TooManyRequests,
    Unauthorized,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class ErrorDetail(TypedDict):
    object: str
    type: str
    code: str
    message: str
    param: NotRequired[str]


class ErrorBody(TypedDict):
    error: ErrorDetail


INVALID_REQUEST = "invalid_request_error"  # type and code of errors that the client can correct in the request
CODES: Mapping[type[RequestError], str] = {  # of the others, whose type is "error"; subclasses included
    Unauthorized: "UNAUTHORIZED",
    SpendingLimitReached: "SPENDING_LIMIT_REACHED",
    Forbidden: "FORBIDDEN",
    NotFound: "NOT_FOUND",
    TooManyRequests: "RATE_LIMIT_EXCEEDED",
    Overloaded: "OVERLOADED",
    GenerationFailed: "GENERATION_FAILED",
}


def error_body(error: RequestError) -> ErrorBody:
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), None)
    detail: ErrorDetail = {
        "object": "error",
        "type": INVALID_REQUEST if code is None else "error",
        "code": code or INVALID_REQUEST,
        "message": error.message,
    }
    if error.param is not None:
        detail["param"] = error.param
    return {"error": detail}
