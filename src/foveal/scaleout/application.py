"""What Ray Serve is asked to run: an ingress, and behind it the replicas of a model.

foveal deploy foveal.toml
serve run foveal.scaleout.application:of_file config=foveal.toml
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from foveal.config import Config, load_config
from foveal.errors import ConfigError
from foveal.http.lifespan import Lifespan
from foveal.models.hub import check_model
from foveal.scaleout.calls import RayReplicas
from foveal.scaleout.ingress import ingress
from foveal.scaleout.messages import encode
from foveal.scaleout.replica import EngineReplica
from foveal.scaleout.router import CACHE_TOKENS, ImageRouter
from foveal.scaleout.scaling import WAITING_TOKENS, ByWork
from foveal.serving.lifecycle import DRAIN_S
from foveal.serving.process import prepare_process

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle
    from ray.serve.request_router import RequestRouter

    from foveal.scaleout.affinity import Demand

NAME = "foveal"  # of the application in a cluster
UNLIMITED = 1 << 30
HEALTH_PERIOD_S = 2.0  # in which a dead replica is found and replaced


def of_file(arguments: dict[str, str]) -> Application:
    """What `serve run` calls with `config=FILE`. Raises CheckpointError or ConfigError."""
    path = arguments.get("config")
    return application(load_config(Path(path) if path else None, os.environ, {}))


def application(config: Config, engine: type | None = None, router: type[RequestRouter] | None = None) -> Application:
    """The ingress deployment, bound to that of the engines. Raises CheckpointError or ConfigError.

    engine, router: others than EngineDeployment and ImageRouter, for measurements.
    """
    if not config.model.path:
        raise ConfigError("model.path is empty: a cluster's engines need a model of their own")
    check_model(config.model.path, config.model.mmproj)
    scaleout = config.scaleout
    if scaleout.num_ingresses > 1 and config.accounting.url is None:
        raise ConfigError("scaleout.num_ingresses is more than 1: they need accounts in one database (accounting.url)")
    of_both: dict[str, Any] = {
        "graceful_shutdown_timeout_s": DRAIN_S,
        "health_check_period_s": HEALTH_PERIOD_S,
        "logging_config": {"enable_access_log": False},  # the application writes its own
    }
    engines = serve.deployment(
        engine or EngineDeployment,
        name="engine",
        request_router_config=RequestRouterConfig(request_router_class=router or ImageRouter),
        ray_actor_options={"num_cpus": scaleout.num_cpus, "num_gpus": scaleout.num_gpus},
        max_ongoing_requests=config.engine.max_num_seqs + config.engine.max_num_waiting,
        **_number(config),
        **of_both,
    ).bind(config)
    return serve.deployment(
        serve.ingress()(IngressDeployment),
        name="ingress",
        num_replicas=scaleout.num_ingresses,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=config.http.max_connections or UNLIMITED,
        **of_both,
    ).bind(config, engines)


def _number(config: Config) -> dict[str, object]:
    """Of engines: as many as configured, or as many as requests keep busy."""
    scaleout = config.scaleout
    if scaleout.max_replicas is None:
        return {"num_replicas": scaleout.num_replicas}
    busy = {"busy_requests": scaleout.busy_requests, "busy_tokens": scaleout.busy_tokens}
    autoscaling = AutoscalingConfig(
        min_replicas=scaleout.num_replicas,
        max_replicas=scaleout.max_replicas,
        policy=AutoscalingPolicy(policy_function=ByWork, policy_kwargs=busy),
    )
    return {"autoscaling_config": autoscaling}


class EngineDeployment:
    """What a replica's actor runs: Ray awaits its start, its calls and its end."""

    async def __init__(self, config: Config) -> None:  # type: ignore[misc]
        prepare_process(config.log)
        self._replica = await EngineReplica.start(config)

    async def info(self) -> bytes:
        return encode(self._replica.info)

    def record_replica_metadata(self) -> dict[str, int]:
        """What routers are told by Ray."""
        return {CACHE_TOKENS: self._replica.info.num_blocks * self._replica.info.block_size}

    def record_autoscaling_stats(self) -> dict[str, int]:
        """What ByWork is told by Ray."""
        return {WAITING_TOKENS: self._replica.num_waiting_tokens}

    async def run(
        self, submission: bytes, pixels: Sequence[Awaitable[NDArray[np.uint8]]], demand: Demand
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._replica.run(submission, pixels, demand.work)) as steps:
            async for step in steps:
                yield step

    async def __del__(self) -> None:
        await self._replica.close()


class IngressDeployment:
    """What an ingress's actor runs: the application, by ASGI."""

    def __init__(self, config: Config, engines: DeploymentHandle) -> None:
        prepare_process(config.log)
        self._app = Lifespan(partial(ingress, config, RayReplicas(engines)))

    def __serve_build_asgi_app__(self) -> Lifespan:
        return self._app
