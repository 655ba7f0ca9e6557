"""Counts a request against its caller's limits from its head on, before its body is read.

So a request that is refused for what it holds costs its caller as much as any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.http.middleware.auth import caller_in

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from foveal.accounting.accounting import Accounting


class Admission:
    """ASGI middleware inside `Authentication`: every POST of a caller counts. Raises what `Accounting.visit` raises."""

    def __init__(self, app: ASGIApp, accounting: Accounting) -> None:
        self.app = app
        self.accounting = accounting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = caller_in(scope)
        if caller is None or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        async with self.accounting.visit(caller):
            await self.app(scope, receive, send)
