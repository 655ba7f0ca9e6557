"""Hands each request to a tracer when it has ended: how long it took, and its stages. Knows no tracing system.

While a request runs, its stages are collected and nothing else is done.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from starlette.datastructures import Headers

from foveal.http.routing import NO_ROUTE, route_in
from foveal.telemetry import Stage, collecting_stages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from foveal.http.dialects.answers import Answers


@dataclass(frozen=True, slots=True)
class Trace:
    """A request that has ended. It has nothing of what was asked or answered."""

    headers: Mapping[str, str]  # of which a tracer reads those that name the client's trace
    method: str
    route: str | None  # None: there is none at the path
    scheme: str
    path: str
    status: int  # 0: the client left before there was one
    request_id: str
    key_name: str | None
    model: str | None
    answers: Answers | None  # None: it was refused, or asked for no answers
    stages: Sequence[Stage]
    started_s: float  # of time.monotonic
    ended_s: float


class Tracer(Protocol):
    """Where traces go: `http.spans.Spans`, or a fake."""

    def record(self, trace: Trace) -> str:
        """Returns the trace's id, which the log has as well."""


class Tracing:
    """ASGI middleware inside `RequestLog`. What programs ask again and again has no traces."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self.app = app
        self.tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if route_in(scope).endpoint.is_routine:
            return await self.app(scope, receive, send)
        started_s, status = time.monotonic(), 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        with collecting_stages() as stages:
            try:
                await self.app(scope, receive, send_and_note)
            finally:
                scope["state"]["trace_id"] = self.tracer.record(_trace(scope, status, stages, started_s))


def _trace(scope: Scope, status: int, stages: Sequence[Stage], started_s: float) -> Trace:
    route, state = route_in(scope), scope["state"]
    return Trace(
        headers=Headers(scope=scope),
        method=scope["method"],
        route=None if route.endpoint.path == NO_ROUTE else route.path,
        scheme=scope["scheme"],
        path=scope["path"],
        status=status,
        request_id=state["request_id"],
        key_name=state.get("key_name"),
        model=state.get("model"),
        answers=state.get("answers"),
        stages=stages,
        started_s=started_s,
        ended_s=time.monotonic(),
    )
