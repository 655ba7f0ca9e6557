"""Runs work that is cancelled when the client disconnects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from starlette.types import Receive


async def unless_client_leaves(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; cancel it as soon as the connection is gone, and return once it has cleaned up.

    The request's body must have been read: after it, the disconnection is all that `receive` can return.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_disconnection(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not working.cancelling():  # a second cancellation would interrupt the clean-up
            working.cancel()
        await asyncio.wait((working, leaving))
    if not working.cancelled():
        working.result()


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
