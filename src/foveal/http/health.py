"""GET /healthz: this process is alive. GET /readyz: the model can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from foveal.http.problems import problem_docs

if TYPE_CHECKING:
    from foveal.http.contract import Pipeline


def health_routes(pipeline: Pipeline) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", responses=problem_docs())
    async def is_alive() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", responses=problem_docs(503))
    async def is_ready() -> dict[str, str]:
        pipeline.check_ready()
        return {"status": "ready"}

    return router
