"""Whose images hold how much of the arena, so that one caller leaves room for others. Knows no pixels.

Images are held for as long as answers run. An image that several requests of one caller share counts once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from foveal.errors import Overloaded
from foveal.media.cache import NO_ROOM, EncodedImage, arena_bytes
from foveal.shares import Shares

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class Room:
    """`num_bytes` of an arena. Raises Overloaded where there is no room for a caller's images for `max_wait_s`."""

    def __init__(self, num_bytes: int, max_wait_s: float) -> None:
        self._shares = Shares(num_bytes, keeps_room=True)
        self._max_wait_s = max_wait_s
        self._num_requests: Counter[tuple[str, bytes]] = Counter()  # that hold an image, by caller and hash

    @asynccontextmanager
    async def hold(self, caller: str, images: Sequence[EncodedImage]) -> AsyncIterator[None]:
        """Waits until the caller may hold these as well. Raises Overloaded or TooManyRequests."""
        wanted = list({image.hash: image for image in images}.values())
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._take(caller, wanted)
        except TimeoutError:
            raise Overloaded(NO_ROOM) from None
        self._num_requests.update((caller, image.hash) for image in wanted)
        try:
            yield
        finally:
            self._num_requests.subtract((caller, image.hash) for image in wanted)
            self._shares.give_back(caller, arena_bytes(self._not_held(caller, wanted)))
            self._num_requests = +self._num_requests

    async def _take(self, caller: str, images: Sequence[EncodedImage]) -> None:
        """Takes room for those that no other request of the caller holds, once there is some."""
        while missing := self._not_held(caller, images):
            num_bytes = arena_bytes(missing)
            await self._shares.take(caller, num_bytes)
            if missing == self._not_held(caller, images):  # and not others than before the wait
                return
            self._shares.give_back(caller, num_bytes)

    def _not_held(self, caller: str, images: Sequence[EncodedImage]) -> list[EncodedImage]:
        return [image for image in images if not self._num_requests[caller, image.hash]]
