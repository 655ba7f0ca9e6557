"""Compares two ways to choose an engine on a Ray cluster: in turn, and by what engines have and have to do.

Paced engines with prefix caches, behind one ingress, are asked the same conversations by each router. Each turn of a
conversation comes when the one before it is answered, so every conversation always has a request in flight.

    python -m benchmarks.routing

Needs foveal[ray]. Results: benchmarks/routing.txt.
"""

from __future__ import annotations

import os
import platform
from datetime import date
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.serve.request_router import RequestRouter

from benchmarks.on_ray import asked, cluster, deployed
from benchmarks.paced import Pace, PacedDeployment
from foveal.scaleout.router import ImageRouter

if TYPE_CHECKING:
    from ray.serve.request_router import PendingRequest, RunningReplica

NUM_REPLICAS, NUM_CONVERSATIONS, NUM_TURNS, NUM_IMAGES = 4, 40, 6, 2
ASKED = {
    "--requests": NUM_CONVERSATIONS * NUM_TURNS,
    "--concurrency": NUM_CONVERSATIONS,
    "--turns": NUM_TURNS,
    "--images": NUM_IMAGES,
    "--image-size": "640x480",
    "--prompt-tokens": 64,
    "--max-tokens": 32,
    "--warmup": 0,
    "--seed": 1,
}


class InTurn(RequestRouter):  # type: ignore[misc]
    """Round robin."""

    def initialize_state(self) -> None:
        self._numbers = count()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        if pending_request is None or "demand" not in pending_request.kwargs:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True
        ordered = sorted(candidate_replicas, key=lambda replica: str(replica.replica_id))
        first = next(self._numbers) % len(ordered)
        return [[replica] for replica in ordered[first:] + ordered[:first]]


class Engines(PacedDeployment):
    pace = Pace(tokens_per_message=4, cache_tokens=24576)


ROUTERS = {"in turn": InTurn, "by what engines have": ImageRouter}


def row(name: str, found: dict[str, Any]) -> str:
    requests, report = found["requests"], found["report"]
    assert report["num_failed"] == 0, report["errors"]
    first_s = [request["chunks_s"][0] - request["start_s"] for request in requests]
    half, most = np.percentile(first_s, (50, 99))
    share = report["cached_tokens"] / report["prompt_tokens"]
    return f"{name:22}{share:8.0%}{half:10.2f}{most:10.2f}{report['busy_s']:10.1f}"


def main() -> None:
    print(f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"{NUM_REPLICAS} engines, {Engines.pace}")
    print(f"{NUM_CONVERSATIONS} conversations at once, {NUM_TURNS} turns, {NUM_IMAGES} images each")
    print(f"{'router':22}{'cached':>8}{'p50 s':>10}{'p99 s':>10}{'all s':>10}")
    num_tokens = 0.0
    with cluster():
        for name, router in ROUTERS.items():
            with deployed(NUM_REPLICAS, Engines, router):
                found = asked(ASKED)
            print(row(name, found), flush=True)
            num_tokens = found["report"]["prompt_tokens"] / len(found["requests"])
    print(f"p50, p99: until the first token. A prompt has {num_tokens:.0f} tokens in the mean.")


if __name__ == "__main__":
    main()
