"""What Ollama's clients ask of models: which there are, and what each can do. And what this server does not do."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from foveal import __version__
from foveal.errors import NotFound
from foveal.http.dialects.ollama.parse import DEFAULT_TAG, model_name
from foveal.http.dialects.ollama.replies import OllamaModels, OllamaShown, OllamaVersion, time_of
from foveal.http.dialects.ollama.schemas import OllamaShowBody
from foveal.http.endpoint import Docs, Endpoint
from foveal.http.responses import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.dialects.ollama.replies import OllamaDetails, OllamaModel
    from foveal.http.endpoint import Context
    from foveal.serving.pipeline import ModelCard

ARCHITECTURE = "foveal"  # under which clients look up the context's length
NOT_DONE = "The operator chooses this server's models when it starts: they are not pulled, made or removed from here."
NO_EMBEDDINGS = "This server makes no embeddings."
FAR_FUTURE_S = 7_258_118_400  # 2200-01-01: no model is ever unloaded


async def ollama_tags(request: Request, context: Context) -> ASGIApp:
    """The served models."""
    listed: OllamaModels = {"models": [_model(served.card) for served in context.models]}
    return json_response(listed)


async def ollama_ps(request: Request, context: Context) -> ASGIApp:
    """The loaded models, which are all."""
    loaded: OllamaModels = {
        "models": [
            {
                **_model(served.card),
                "expires_at": time_of(FAR_FUTURE_S),
                "size_vram": 0,
                "context_length": served.card.context_length,
            }
            for served in context.models
        ]
    }
    return json_response(loaded)


async def ollama_show(request: Request, context: Context) -> ASGIApp:
    """What a model can do."""
    body = await context.bodies.read(request, OllamaShowBody)
    card = context.models.find(model_name(body.model or body.name or "")).card
    shown: OllamaShown = {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _details(),
        "model_info": {
            "general.architecture": ARCHITECTURE,
            "general.basename": card.id,
            f"{ARCHITECTURE}.context_length": card.context_length,
        },
        "capabilities": ["completion", "tools", *(["vision"] if card.supports_image_input else [])],
        "modified_at": time_of(card.created),
    }
    return json_response(shown)


async def ollama_version(request: Request, context: Context) -> ASGIApp:
    """The server's version, which is not Ollama's."""
    version: OllamaVersion = {"version": __version__}
    return json_response(version)


def _model(card: ModelCard) -> OllamaModel:
    name = card.id if ":" in card.id else card.id + DEFAULT_TAG
    return {
        "name": name,
        "model": name,
        "modified_at": time_of(card.created),
        "size": 0,
        "digest": hashlib.sha256(card.id.encode()).hexdigest(),
        "details": _details(),
    }


def _details() -> OllamaDetails:
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": ARCHITECTURE,
        "families": [ARCHITECTURE],
        "parameter_size": "",
        "quantization_level": "",
    }


def _refusing(path: str, message: str, method: str = "POST") -> Endpoint:
    async def refuse(request: Request, context: Context) -> ASGIApp:
        raise NotFound(message)

    return Endpoint(path, refuse, methods=(method,))


ENDPOINTS = (
    Endpoint("/tags", ollama_tags, docs=Docs("models", {"application/json": OllamaModels}, errors=(401,))),
    Endpoint("/ps", ollama_ps, docs=Docs("models", {"application/json": OllamaModels}, errors=(401,))),
    Endpoint(
        "/show",
        ollama_show,
        methods=("POST",),
        docs=Docs(
            "models",
            {"application/json": OllamaShown},
            errors=(400, 401, 404, 429),
            body=OllamaShowBody,
            example={"model": "foveal-mini"},
        ),
    ),
    Endpoint("/version", ollama_version, docs=Docs("models", {"application/json": OllamaVersion}, errors=(401,))),
    *(_refusing(f"/{name}", NOT_DONE) for name in ("pull", "push", "create", "copy")),
    _refusing("/delete", NOT_DONE, "DELETE"),
    *(_refusing(f"/{name}", NO_EMBEDDINGS) for name in ("embed", "embeddings")),
)
