"""GET /status/failures: the last requests that were refused or failed, for the page at /status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from foveal.http.endpoint import Docs, Endpoint
from foveal.http.responses import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.endpoint import Context


class FailureItem(TypedDict):
    ended: float  # unix seconds
    route: str
    status: int
    request_id: str


class FailureList(TypedDict):
    failures: list[FailureItem]


async def list_failures(request: Request, context: Context) -> ASGIApp:
    """The last requests that were refused or failed, newest first: when, where, and with which status.

    A status of 200 is of a stream that failed after its beginning.
    The server's log has more under the same id.
    """
    newest_first = reversed(context.traffic.failures)
    failures: FailureList = {
        "failures": [
            {"ended": each.ended, "route": each.route, "status": each.status, "request_id": each.request_id}
            for each in newest_first
        ]
    }
    return json_response(failures)


ENDPOINT = Endpoint(
    "/status/failures",
    list_failures,
    access="operator",
    docs=Docs("health", {"application/json": FailureList}, errors=(401, 403)),
    is_routine=True,
)
