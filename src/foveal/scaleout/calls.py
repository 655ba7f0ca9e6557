"""Calls of replicas through Ray Serve's router."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

import ray
from ray import exceptions as of_ray

from foveal.engine.protocol import StepDone, Submit
from foveal.scaleout.affinity import demand_of
from foveal.scaleout.messages import ReplicaLost, encode, read_info, read_step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from ray.serve.handle import DeploymentHandle

    from foveal.types import EngineInfo

LOSSES = (
    of_ray.RayActorError,
    of_ray.NodeDiedError,
    of_ray.ObjectLostError,
    of_ray.LocalRayletDiedError,
    of_ray.TaskCancelledError,  # not by us: its replica was told to stop
)


class RayReplicas:
    """The replicas of one deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def info(self) -> EngineInfo:
        while True:
            try:
                return read_info(await self._handle.info.remote())
            except LOSSES:
                continue  # the next one may last

    async def run(self, submission: Submit, pixels: Sequence[NDArray[np.uint8]]) -> AsyncGenerator[StepDone, None]:
        """See Replicas. The object store frees the pixels when both sides are done with them."""
        stored = [ray.put(array) for array in pixels]
        answer = self._handle.options(stream=True).run.remote(encode(submission), stored, demand=demand_of(submission))
        try:
            async for step in answer:
                yield read_step(step)
        except LOSSES as error:
            raise ReplicaLost(type(error).__name__) from error
        finally:
            answer.cancel()  # without effect where it has ended
