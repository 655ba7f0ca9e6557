"""An engine that starts before the server has imported what it serves with: both then import at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from foveal.engine_client.supervisor import EngineProcess

if TYPE_CHECKING:
    from foveal.arena import PixelArena
    from foveal.config import EngineConfig
    from foveal.types import OnProgress

SPAWN_S = 0.01  # in which the loop starts the process, before imports keep it busy


class StartedAhead:
    """An engine process that is starting. Must be closed."""

    def __init__(self, folder: str, config: EngineConfig, arena: PixelArena) -> None:
        self._on_progress: OnProgress = lambda share: None
        self._engine = asyncio.create_task(
            EngineProcess.start(folder, config, arena, lambda share: self._on_progress(share))
        )

    @classmethod
    async def begin(cls, folder: str, config: EngineConfig, arena: PixelArena) -> StartedAhead:
        """Start the process, and return while it loads the checkpoint in `folder`."""
        ahead = cls(folder, config, arena)
        await asyncio.wait([ahead._engine], timeout=SPAWN_S)
        return ahead

    async def start(
        self, folder: str, config: EngineConfig, arena: PixelArena, on_progress: OnProgress
    ) -> EngineProcess:
        """The engine, with the arguments that it was begun with. Raises CheckpointError or ConfigError."""
        self._on_progress = on_progress
        return await self._engine

    async def close(self) -> None:
        """End the process; nothing happens if it has ended."""
        self._engine.cancel()
        await asyncio.wait([self._engine])
        if not self._engine.cancelled() and self._engine.exception() is None:
            await self._engine.result().close()
