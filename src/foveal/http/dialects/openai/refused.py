"""What clients of this API family ask for and this server does not do: a sentence instead of a bare 404."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.errors import NotFound
from foveal.http.endpoint import Endpoint

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.endpoint import Context

NO_IMAGE_GENERATION = "This server reads images and makes none: image and video generation are not available."
NO_FINE_TUNING = "This server does not train: fine-tuning is not available. Serve a fine-tuned checkpoint instead."

REFUSED_PATHS = {
    "/images/{rest:path}": NO_IMAGE_GENERATION,
    "/workflows/{rest:path}": NO_IMAGE_GENERATION,
    "/image_generation/{rest:path}": NO_IMAGE_GENERATION,  # the older client's
    "/video_generation/{rest:path}": NO_IMAGE_GENERATION,
    "/fine_tuning/{rest:path}": NO_FINE_TUNING,
    "/accounts/{account}/fineTuningJobs": NO_FINE_TUNING,
    "/accounts/{account}/fineTuningJobs/{rest:path}": NO_FINE_TUNING,
    "/accounts/{account}/supervisedFineTuningJobs": NO_FINE_TUNING,
    "/accounts/{account}/supervisedFineTuningJobs/{rest:path}": NO_FINE_TUNING,
}


def _refusing(path: str, message: str) -> Endpoint:
    async def refuse(request: Request, context: Context) -> ASGIApp:
        raise NotFound(message)

    return Endpoint(path, refuse, methods=("GET", "POST"))


ENDPOINTS = tuple(_refusing(path, message) for path, message in REFUSED_PATHS.items())
