"""Who may ask. With API keys: whoever sends one. Without: whoever reaches this machine's loopback under its own name.

Decides on the ASGI scope's path, the same string that the router matches, never on a URL built from the Host header.
"""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from foveal.errors import ConfigError, InvalidRequest, RequestError, Unauthorized
from foveal.http.problems import problem_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

# Say nothing about the model or its users: two probes and the documentation of the API.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})


class Authentication:
    """ASGI middleware. Keys are kept as SHA-256 digests and compared in constant time, all of them each time."""

    def __init__(self, app: ASGIApp, api_keys: Sequence[str]) -> None:
        if not all(key.strip() == key and key for key in api_keys):
            raise ConfigError("http.api_keys holds an empty key or one with blanks around it; remove it")
        self.app = app
        self.digests = [hashlib.sha256(key.encode()).digest() for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS else self._refusal(scope)
        app = self.app if refusal is None else problem_response(refusal)
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> RequestError | None:
        headers = Headers(scope=scope)
        if self.digests:
            return None if self._is_known(headers.getlist("authorization")) else Unauthorized()
        if is_loopback(_host_name(headers.get("host", ""))):
            return None
        return InvalidRequest(
            "This server has no API keys, so it answers only under this machine's own name: ask it at "
            "http://127.0.0.1 or http://localhost, or configure api_keys."
        )

    def _is_known(self, authorizations: list[str]) -> bool:
        if len(authorizations) != 1:
            return False
        scheme, _, key = authorizations[0].partition(" ")
        digest = hashlib.sha256(key.strip().encode("latin-1")).digest()
        matches = [hmac.compare_digest(digest, known) for known in self.digests]
        return scheme.lower() == "bearer" and any(matches)


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
