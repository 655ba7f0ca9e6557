"""Who may ask. With API keys: whoever sends one. Without: whoever reaches this machine's loopback under its own name.

Decides on the ASGI scope's path, the same string that the router matches, never on a URL built from the Host header.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from foveal.errors import Forbidden, InvalidRequest, Unauthorized
from foveal.http.problems import problem_response
from foveal.types import Caller

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from foveal.accounting.accounting import Accounting
    from foveal.accounting.keys import Key

# Say nothing about the model or its users: two probes and the documentation of the API.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
OPERATOR_PATHS = frozenset({"/metrics"})  # say something about all users together


class Authentication:
    """ASGI middleware: lets in who may ask, and notes who it is (`caller_in`). `host`: what the server listens on."""

    def __init__(self, app: ASGIApp, accounting: Accounting, host: str) -> None:
        self.app = app
        self.accounting = accounting
        self.is_local = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] != "lifespan" and scope["path"] not in OPEN_PATHS:
            try:
                self._check(scope)
            except (Unauthorized, Forbidden, InvalidRequest) as refusal:
                app = problem_response(refusal)
        await app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        key = None
        if self.accounting.requires_key or not self.is_local:
            key = self._key(headers.getlist("authorization"))
            if scope["path"] in OPERATOR_PATHS and not key.is_operator:
                raise Forbidden("This path is for the operator of the server, and this API key is not the operator's.")
        elif not is_loopback(_host_name(headers.get("host", ""))):
            raise InvalidRequest(
                "This server has no API keys, so it answers only under this machine's own name: ask it at "
                "http://127.0.0.1 or http://localhost, or configure api_keys."
            )
        state = scope.setdefault("state", {})
        request_id = state.get("request_id", "")
        state["caller"] = Caller(request_id, key.id, key.account) if key else Caller(request_id)

    def _key(self, authorizations: list[str]) -> Key:
        """Raises Unauthorized."""
        scheme, _, secret = authorizations[0].partition(" ") if len(authorizations) == 1 else ("", "", "")
        key = self.accounting.identify(secret.strip().encode("latin-1"))
        if key is None or scheme.lower() != "bearer":
            raise Unauthorized
        return key


def caller_in(scope: Scope) -> Caller | None:
    """Who asks, of a request that was let in; None on an open path, where nobody is asked."""
    caller: Caller | None = scope.get("state", {}).get("caller")
    return caller


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine. A browser that was lured to another name of ours
    (DNS rebinding) still sends that name, so this also tells a local program from a foreign page.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    """`name`, `name:port`, `[::1]` or `[::1]:port` without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
