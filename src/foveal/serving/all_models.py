"""The models of one server, put together from the settings: its own, if it has one, and those that others run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.serving.in_flight import InFlight
from foveal.serving.lifecycle import Service
from foveal.serving.served import ServedModels

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.accounting.accounting import Accounting
    from foveal.arena import PixelArena
    from foveal.config import Config


class AllModels:
    """What `ServedModels` has, with what has to be closed afterwards. Make it on the event loop."""

    def __init__(self, config: Config, folder: Path | None, accounting: Accounting, arena: PixelArena) -> None:
        """`folder`, `arena`: of the server's own model. Raises CheckpointError or ConfigError."""
        self.in_flight = InFlight()
        self.served = ServedModels()
        self.own = None if folder is None else Service(config, folder, accounting, arena, self.in_flight)
        if self.own is not None:
            self.served.add(self.own.pipeline)
        self._elsewhere = None
        if config.models:
            from foveal.serving.elsewhere import ModelsElsewhere  # its HTTP client takes 0.1 s to import

            self._elsewhere = ModelsElsewhere(config, accounting, self.in_flight)
            for each in self._elsewhere.served:
                self.served.add(each)

    async def close(self) -> None:
        """Ends engine, connections and image workers. Requests in flight fail, and are accounted for."""
        if self.own is not None:
            await self.own.close()
        if self._elsewhere is not None:
            await self._elsewhere.close()
