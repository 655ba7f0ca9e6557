"""The dialect of Ollama's API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.http.dialects.dialect import Dialect, KeyHeader
from foveal.http.dialects.ollama import generate, models
from foveal.http.dialects.ollama.replies import OllamaError

if TYPE_CHECKING:
    from foveal.errors import RequestError


def error_body(error: RequestError) -> OllamaError:
    return {"error": error.message}


OLLAMA = Dialect(
    names=("Ollama",),
    prefixes=("/api",),
    endpoints=(*generate.ENDPOINTS, *models.ENDPOINTS),
    key_headers=(KeyHeader("authorization", "Bearer"),),
    error_body=error_body,
    error_schema=OllamaError,
    takes_any_type=True,  # curl and some clients name none, or a form's
)
