"""What clients of this API family ask for and this server does not do: a sentence instead of a bare 404."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from foveal.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NO_IMAGE_GENERATION = "This server reads images and does not draw them: image generation is not available."
NO_FINE_TUNING = "This server does not train: fine-tuning is not available. Serve a fine-tuned checkpoint instead."

REFUSED_PATHS = {
    "/images/{rest:path}": NO_IMAGE_GENERATION,
    "/workflows/{rest:path}": NO_IMAGE_GENERATION,
    "/fine_tuning/{rest:path}": NO_FINE_TUNING,
    "/accounts/{account}/supervisedFineTuningJobs": NO_FINE_TUNING,
}


def refused_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for path, message in REFUSED_PATHS.items():
        router.add_api_route(path, _refusal(message), methods=["GET", "POST"])
    return router


def _refusal(message: str) -> Callable[[], Awaitable[None]]:
    async def refuse() -> None:
        raise NotFound(message)

    return refuse
