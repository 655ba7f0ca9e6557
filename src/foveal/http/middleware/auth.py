"""Authentication. With API keys, a request needs a valid one. Without, its Host must be a loopback name or address.

The decision rests on the route that the request takes, never on a URL built from the Host header. The route's dialect
names the headers that may hold a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from foveal.errors import Forbidden, InvalidRequest, Unauthorized
from foveal.http.listener import is_loopback
from foveal.http.routing import route_in
from foveal.types import Caller

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from foveal.accounting.accounting import Accounting
    from foveal.accounting.keys import Key
    from foveal.http.dialects.dialect import Dialect


class Authentication:
    """ASGI middleware: passes on requests of valid callers, and notes the caller in the scope (`caller_in`).

    `host`: where the server listens. Raises Unauthorized, Forbidden or InvalidRequest for all others.
    """

    def __init__(self, app: ASGIApp, accounting: Accounting, host: str) -> None:
        self.app = app
        self.accounting = accounting
        self.is_local = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if route_in(scope).endpoint.access != "open":
            scope["state"]["caller"] = self._caller(scope)
        await self.app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller:
        route, headers, request_id = route_in(scope), Headers(scope=scope), scope["state"]["request_id"]
        if self.accounting.requires_key or not self.is_local:
            key = self._key(headers, route.dialect)
            if route.endpoint.access == "operator" and not key.is_operator:
                raise Forbidden("This path is for the operator of the server, and this API key is not the operator's.")
            scope["state"]["key_name"] = key.name
            return Caller(request_id, key.id, key.account)
        if not is_loopback(_host_name(headers.get("host", ""))):
            raise InvalidRequest(
                "This server has no API keys, so it answers only under this machine's own name: ask it at "
                "http://127.0.0.1 or http://localhost, or configure api_keys."
            )
        return Caller(request_id)

    def _key(self, headers: Headers, dialect: Dialect) -> Key:
        """The key in the request's one key header. Raises Unauthorized."""
        secrets = [known.secret_in(value) for known in dialect.key_headers for value in headers.getlist(known.name)]
        if not secrets:
            known = dialect.key_headers[0]
            sent = " ".join(filter(None, (known.scheme, "KEY")))
            raise Unauthorized(f"You did not provide an API key. Send yours in the header {known.name.title()}: {sent}")
        key = self.accounting.identify((secrets[0] if len(secrets) == 1 else "").encode("latin-1"))
        if key is None:
            raise Unauthorized
        return key


def caller_in(scope: Scope) -> Caller | None:
    """The caller of an authenticated request; None on an open path, which needs no authentication."""
    caller: Caller | None = scope["state"].get("caller")
    return caller


def sharer_in(scope: Scope) -> str:
    """Who shares with others what the server has. Open paths share as one."""
    caller = caller_in(scope)
    return "" if caller is None else caller.share


def _host_name(host: str) -> str:
    """`name`, `name:port`, `[::1]` or `[::1]:port` without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
