"""An application that lives from ASGI's startup event to its shutdown event, for servers that send these."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from starlette.types import ASGIApp as ASGIApp
from starlette.types import Receive, Scope, Send

Running = Callable[[], AbstractAsyncContextManager[ASGIApp]]
"""Makes the application when it is entered, and closes it on leaving."""

log = logging.getLogger(__name__)


class Lifespan:
    """The ASGI application that `running` makes."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            assert self._app is not None, "the startup event did not come"
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as closing:
            await receive()
            try:
                self._app = await closing.enter_async_context(self._running())
            except Exception as error:
                log.error("the application cannot start: %s", error)
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
