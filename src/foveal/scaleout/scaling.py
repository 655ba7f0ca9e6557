"""How many engines there should be: by the requests that they have, and by the work that waits. Knows no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

WAITING_TOKENS = "waiting_tokens"  # what a replica reports


class Load(Protocol):
    """Of all replicas, as Ray's AutoscalingContext has it."""

    @property
    def total_num_requests(self) -> float: ...

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[object, float]] | None:
        """What replicas reported, by name and replica."""


class ByWork:
    """A policy for Ray's autoscaling, which bounds and delays what it says."""

    def __init__(self, busy_requests: int, busy_tokens: int) -> None:
        self._busy_requests = busy_requests
        self._busy_tokens = busy_tokens

    def __call__(self, load: Load) -> tuple[float, dict[str, object]]:
        """The number of replicas that have enough to do, and a state, which is empty."""
        num_tokens = sum((load.aggregated_metrics or {}).get(WAITING_TOKENS, {}).values())
        return max(load.total_num_requests / self._busy_requests, num_tokens / self._busy_tokens), {}
