"""GET /openapi.json: the API's own description. The page at /docs draws it (pages.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.http.endpoint import Endpoint
from foveal.http.responses import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.endpoint import Context


async def get_openapi_document(request: Request, context: Context) -> ASGIApp:
    return json_response(context.document())


# Open: it says nothing about the models or their users.
ENDPOINT = Endpoint("/openapi.json", get_openapi_document, access="open")
