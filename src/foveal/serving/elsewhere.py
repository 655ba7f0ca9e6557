"""The models of a server that other servers run, put together from the settings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from foveal.media.passed_on import PassedOn
from foveal.serving.forwarding import Forwarding
from foveal.upstream.client import Upstream

if TYPE_CHECKING:
    from foveal.accounting.accounting import Accounting
    from foveal.config import Config
    from foveal.serving.in_flight import InFlight


class ModelsElsewhere:
    """An entry for each [[models]] of the settings. They share image workers. Make it on the event loop."""

    def __init__(self, config: Config, accounting: Accounting, in_flight: InFlight) -> None:
        """`in_flight`: the running requests that the server waits for when it stops."""
        self._images = PassedOn(config.images)
        self._upstreams = [Upstream(model.upstream) for model in config.models]
        self.served = [
            Forwarding(model, config.prices, self._images, upstream, accounting, in_flight)
            for model, upstream in zip(config.models, self._upstreams, strict=True)
        ]
        in_flight.cut_by(self._hang_up)

    async def close(self) -> None:
        """Ends connections and image workers. Requests in flight fail."""
        await self._hang_up()
        await self._images.close()

    async def _hang_up(self) -> None:
        await asyncio.gather(*(upstream.close() for upstream in self._upstreams))
