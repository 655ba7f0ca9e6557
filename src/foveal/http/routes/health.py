"""GET /healthz: this process is alive. GET /readyz: every served model can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.http.endpoint import Docs, Endpoint
from foveal.http.responses import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.endpoint import Context

STATUS = {"application/json": dict[str, str]}


async def is_alive(request: Request, context: Context) -> ASGIApp:
    return json_response({"status": "alive"})


async def is_ready(request: Request, context: Context) -> ASGIApp:
    context.models.check_ready()
    return json_response({"status": "ready"})


ENDPOINTS = (
    Endpoint("/healthz", is_alive, access="open", docs=Docs("health", STATUS), is_routine=True),
    Endpoint("/health", is_alive, access="open", is_routine=True),  # as other servers of this kind call it
    Endpoint("/readyz", is_ready, access="open", docs=Docs("health", STATUS, errors=(503,)), is_routine=True),
)
