"""Gives each request its id, counts it and writes a line about it: never a prompt, a body, a header or a query."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from starlette.datastructures import MutableHeaders

from foveal.http.routing import route_in

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from foveal.http.traffic import Traffic

MAX_LOGGED_PATH = 120  # characters

logger = logging.getLogger(__name__)


class RequestLog:
    """ASGI middleware: `x-request-id` on every response, `state["request_id"]` for the inner layers, a log line.

    An exception that arrives here has been answered with a 500. Its traceback is logged with the id.
    """

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self.app = app
        self.traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started_s, status = time.monotonic(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            logger.exception("request %s failed", request_id)
        finally:
            self.traffic.count(route_in(scope).endpoint.path, status, request_id)
            took_s = time.monotonic() - started_s
            logger.info("%s %s %d %.3f s %s", scope["method"], _loggable_path(scope), status, took_s, request_id)


def _loggable_path(scope: Scope) -> str:
    """The path as it was sent, still percent-encoded, so that it cannot forge a line of the log."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("unicode-escape")
    return raw[:MAX_LOGGED_PATH].decode("ascii", "backslashreplace")
