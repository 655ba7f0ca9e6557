"""Ray Serve's request router for engines: each request to the replica that would be done with it first.

Ray makes one in each process that calls replicas, so each ingress knows what it sent itself. Ray tells a router when a
request has ended, not that it has had its first token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray.serve.request_router import RequestRouter

from foveal.scaleout.affinity import Affinities, Demand

if TYPE_CHECKING:
    from asyncio import Future

    from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

CACHE_TOKENS = "cache_tokens"  # the key in a replica's metadata


class ImageRouter(RequestRouter):  # type: ignore[misc]
    """Requests without a Demand go to any replica."""

    def initialize_state(self) -> None:
        self._affinities = Affinities()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The replicas one by one: Ray takes the first that has room."""
        demand = _demand(pending_request)
        if pending_request is None or demand is None:
            return [candidate_replicas]
        replicas = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        self._affinities.there_are({name: of.replica_metadata[CACHE_TOKENS] for name, of in replicas.items()})
        ranked = self._affinities.ranked(demand)
        request = pending_request.metadata.internal_request_id
        self._affinities.sent(request, ranked[0], demand)  # now, so that requests that come at once are spread
        pending_request.routing_context.should_backoff = True  # if none has room

        def when_chosen(future: Future[object]) -> None:
            if future.cancelled():
                self._affinities.ended(request)

        pending_request.future.add_done_callback(when_chosen)
        return [[replicas[name]] for name in ranked]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: object) -> None:
        if demand := _demand(pending_request):
            self._affinities.sent(pending_request.metadata.internal_request_id, replica_id.unique_id, demand)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        self._affinities.ended(internal_request_id)


def _demand(pending_request: PendingRequest | None) -> Demand | None:
    return pending_request.kwargs.get("demand") if pending_request else None
