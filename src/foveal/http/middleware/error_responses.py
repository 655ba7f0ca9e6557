"""Turns exceptions of the inner layers into error responses, in the dialect of the request's route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from foveal.errors import RequestError
from foveal.http.responses import as_request_error, error_response
from foveal.http.routing import route_in

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ErrorResponses:
    """ASGI middleware. An exception that is no RequestError is answered with a 500 and raised again, for the log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except ClientDisconnect:
            await Response(status_code=400)(scope, receive, send)  # nobody is there to read it
        except Exception as error:  # whatever a route raises, its client gets an answer in its dialect
            if has_begun:
                raise
            await error_response(as_request_error(error), route_in(scope).dialect)(scope, receive, send)
            if not isinstance(error, RequestError):
                raise
