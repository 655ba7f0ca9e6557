"""What an ingress and a replica say to each other. Tokens travel as the messages of an engine.

Pixels do not travel in messages, but beside them, through the cluster's object store.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from foveal.engine.protocol import StepDone, Submit
from foveal.types import EngineInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

encode = msgspec.msgpack.Encoder().encode
read_submission = msgspec.msgpack.Decoder(Submit).decode
read_step = msgspec.msgpack.Decoder(StepDone).decode
read_info = msgspec.msgpack.Decoder(EngineInfo).decode


class ReplicaLost(Exception):
    """A replica ended, or cannot be reached, while it had a request."""


class Replicas(Protocol):
    """The replicas of one model, as many as there are now: `calls.RayReplicas`, or a fake."""

    async def info(self) -> EngineInfo:
        """That of one replica; waits while there is none that has loaded the model."""

    def run(self, submission: Submit, pixels: Sequence[NDArray[np.uint8]]) -> AsyncGenerator[StepDone, None]:
        """What a replica produces for a request, and nothing else, until its terminal event. Raises ReplicaLost.

        Copies the pixels before it waits for anything. Closing the iterator aborts the request.
        """
