"""Gives each request its id, counts it and writes a line about it: never a prompt, a body, a header or a query.

What the line says of an answer, inner layers leave in the request's state: `key_name`, `model`,
`answers` and `trace_id`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.datastructures import MutableHeaders

from foveal.http.routing import route_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from foveal.http.dialects.answers import Answers
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
            self._count(scope, status, request_id)
            _write(scope, status, time.monotonic() - started_s)

    def _count(self, scope: Scope, status: int, request_id: str) -> None:
        endpoint, answers = route_in(scope).endpoint, scope["state"].get("answers")
        self.traffic.count(endpoint.path, status)
        if (status >= 400 and not endpoint.is_routine) or (answers and answers.ending == "failed"):
            self.traffic.note_failure(endpoint.path, status, request_id)


def _write(scope: Scope, status: int, took_s: float) -> None:
    facts = {"method": scope["method"], "path": _loggable_path(scope), "status": status, "duration_s": round(took_s, 4)}
    more = _facts(scope["state"])
    head = f"{facts['method']} {facts['path']} {status} {took_s:.3f} s"
    line = " ".join((head, *(f"{name}={value}" for name, value in more.items()), scope["state"]["request_id"]))
    level = logging.DEBUG if route_in(scope).endpoint.is_routine else logging.INFO
    logger.log(level, "%s", line, extra={"facts": {**facts, **more, "request_id": scope["state"]["request_id"]}})


def _facts(state: Mapping[str, Any]) -> dict[str, object]:
    """What is known of who asked, of which model, and of its answers."""
    facts: dict[str, object] = {"key": state.get("key_name"), "model": state.get("model")}
    facts["trace_id"] = state.get("trace_id")
    answers: Answers | None = state.get("answers")
    if answers is not None:
        usage = answers.usage
        facts |= {
            "prompt_tokens": usage.prompt_tokens,
            "image_tokens": usage.image_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.completion_tokens,
            "queue_s": _rounded(answers.queue_s),
            "first_token_s": _rounded(answers.first_token_s),
            "finish": answers.ending,
        }
    return {name: value for name, value in facts.items() if value is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _loggable_path(scope: Scope) -> str:
    """The path as it was sent, still percent-encoded, so that it cannot forge a line of the log."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("unicode-escape")
    return raw[:MAX_LOGGED_PATH].decode("ascii", "backslashreplace")
