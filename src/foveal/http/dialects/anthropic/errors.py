"""Errors as the Messages API writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foveal.errors import RequestError


class MessagesErrorDetail(TypedDict):
    type: str
    message: str


class MessagesError(TypedDict):
    type: Literal["error"]
    error: MessagesErrorDetail


OVERLOADED = 529
STATUSES = {503: OVERLOADED}
TYPES: Mapping[int, str] = {  # by the status in errors.py
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}


def error_body(error: RequestError) -> MessagesError:
    return {
        "type": "error",
        "error": {"type": TYPES.get(error.status, "invalid_request_error"), "message": error.message},
    }
