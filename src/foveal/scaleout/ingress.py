"""The ingress: the HTTP application of one machine, with engines elsewhere. Knows no Ray.

It answers 503 until a replica has loaded the model.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from foveal.accounting.kept import KeptAnswers
from foveal.accounting.opening import open_accounting
from foveal.arena import PixelArena
from foveal.config import Config, EngineConfig, accounts_path
from foveal.http.app import create_app
from foveal.http.listener import check_keys
from foveal.models.hub import local_folder
from foveal.scaleout.messages import Replicas
from foveal.scaleout.replicated import ReplicatedEngine
from foveal.serving.all_models import AllModels
from foveal.serving.lifecycle import DRAIN_S

if TYPE_CHECKING:
    from foveal.engine_client.client import EngineClient
    from foveal.http.lifespan import ASGIApp
    from foveal.types import OnProgress

log = logging.getLogger(__name__)


@asynccontextmanager
async def ingress(config: Config, replicas: Replicas) -> AsyncIterator[ASGIApp]:
    """The application, which ends its answers and is closed on leaving. Raises CheckpointError or ConfigError."""

    async def start_engine(
        folder: str, engine: EngineConfig, arena: PixelArena, on_progress: OnProgress
    ) -> ReplicatedEngine:
        return await ReplicatedEngine.start(replicas, arena, max_num_in_flight(config))

    model = config.model
    async with AsyncExitStack() as closing:
        accounting = open_accounting(config, os.environ)
        check_keys(config.http, accounting)
        accounting.start()
        closing.push_async_callback(accounting.close)
        folder = await asyncio.to_thread(local_folder, model.path, model.revision, vision=model.mmproj)
        models = AllModels(config, folder, accounting, PixelArena.create(config.images.arena_bytes))
        closing.push_async_callback(models.close)
        path = accounts_path(config.accounting, os.environ) if config.accounting.responses_on_disk else None
        kept = KeptAnswers(config.accounting, path)
        closing.push_async_callback(kept.close)
        assert models.own is not None
        loading = asyncio.create_task(models.own.start(start_engine))
        loading.add_done_callback(_tell_of_failure)
        closing.callback(loading.cancel)
        closing.push_async_callback(models.in_flight.drain, DRAIN_S)
        yield create_app(models.served, config.http, accounting, kept=kept)


def _tell_of_failure(loading: asyncio.Task[EngineClient]) -> None:
    if not loading.cancelled() and (error := loading.exception()):
        log.error("no replica has loaded the model; start the ingress again", exc_info=error)


def max_num_in_flight(config: Config) -> int:
    """Requests that an ingress accepts: as many as all replicas take."""
    num_replicas = max(config.scaleout.num_replicas, config.scaleout.max_replicas or 0)
    return num_replicas * (config.engine.max_num_seqs + config.engine.max_num_waiting)
