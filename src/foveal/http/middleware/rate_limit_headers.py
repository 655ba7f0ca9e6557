"""Adds the state of the caller's limits as headers to every response, but on paths that are open to all.

Who has no valid key sees the limits of a key that has none of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

from foveal.http.middleware.auth import caller_in
from foveal.http.routing import route_in

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from foveal.accounting.accounting import Accounting
    from foveal.accounting.limits import Allowance, Standing


class RateLimitHeaders:
    """ASGI middleware around `Authentication`, which notes the caller. The headers hold when the response begins."""

    def __init__(self, app: ASGIApp, accounting: Accounting) -> None:
        self.app = app
        self.accounting = accounting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_standing(message: Message) -> None:
            if message["type"] == "http.response.start" and route_in(scope).endpoint.access != "open":
                caller = caller_in(scope)
                standing = self.accounting.standing(caller.key_id if caller else "")
                MutableHeaders(scope=message).update(headers(standing, message["status"]))
            await send(message)

        await self.app(scope, receive, send_with_standing)


def headers(standing: Standing, status: int) -> dict[str, str]:
    """A limit that is switched off has no headers."""
    return {
        **_pair("requests", standing.requests),
        **_pair("tokens-prompt", standing.prompt_tokens),
        **_pair("tokens-generated", standing.generated_tokens),
        "x-ratelimit-over-limit": "yes" if status == 429 or standing.is_at_limit else "no",
    }


def _pair(what: str, allowance: Allowance | None) -> dict[str, str]:
    if allowance is None:
        return {}
    return {
        f"x-ratelimit-limit-{what}": str(allowance.limit),
        f"x-ratelimit-remaining-{what}": str(allowance.remaining),
    }
