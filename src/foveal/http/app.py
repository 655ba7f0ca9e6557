"""The ASGI application, put together: routes under their prefixes, inside limits, authentication and the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from foveal import __version__
from foveal.http.auth import Authentication
from foveal.http.body import BodyReader
from foveal.http.chat import chat_routes
from foveal.http.completions import completion_routes
from foveal.http.health import health_routes
from foveal.http.limits import BodyLimit
from foveal.http.metrics import Traffic, metrics_routes
from foveal.http.models import model_routes
from foveal.http.problems import ErrorBody, add_problem_responses
from foveal.http.ratelimits import RateLimitHeaders
from foveal.http.reference import reference_routes
from foveal.http.refused import refused_routes
from foveal.http.replies import ChatChunk, ChatCompletion, Completion
from foveal.http.requestlog import RequestLog
from foveal.http.schemas import ChatBody, CompletionBody, TokenizeBody
from foveal.http.tokenize import Tokenization, tokenize_routes

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from foveal.accounting.accounting import Accounting
    from foveal.config import HttpConfig
    from foveal.http.contract import Pipeline

PREFIXES = ("/v1", "/inference/v1", "/inference/v1/v1")  # what the clients' documented base URLs lead to
# What the routes read and write themselves. FastAPI could do it, at a tenth of a second of every start.
UNSEEN_SCHEMAS: tuple[Any, ...] = (
    ChatBody,
    CompletionBody,
    TokenizeBody,
    ChatCompletion,
    ChatChunk,
    Completion,
    Tokenization,
    ErrorBody,
)


def create_app(pipeline: Pipeline, config: HttpConfig, accounting: Accounting) -> ASGIApp:
    """Serve `pipeline` under `config` to those whom `accounting` knows."""
    traffic = Traffic()
    api = BodyLimit(create_api(pipeline, config, traffic), config.max_body_bytes)
    return RequestLog(Authentication(RateLimitHeaders(api, accounting), accounting, config.host), traffic)


def create_api(pipeline: Pipeline, config: HttpConfig, traffic: Traffic) -> FastAPI:
    """The routes alone, which is what the OpenAPI document describes."""
    api = FastAPI(
        title="Foveal",
        version=__version__,
        description="Vision-language models over the Fireworks and OpenAI dialects.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirect would be built from the Host header
    )
    add_problem_responses(api)
    bodies = BodyReader(config.unknown_fields)
    versioned = [
        chat_routes(pipeline, config, bodies),
        completion_routes(pipeline, config, bodies),
        tokenize_routes(pipeline, config, bodies),
        model_routes(pipeline),
        refused_routes(),
    ]
    for prefix in PREFIXES:
        for router in versioned:
            api.include_router(router, prefix=prefix, include_in_schema=prefix == PREFIXES[0])
    api.include_router(health_routes(pipeline))
    api.include_router(metrics_routes(traffic, pipeline))
    api.include_router(reference_routes(lambda: describe(api)))
    return api


def describe(api: FastAPI) -> dict[str, object]:
    """The OpenAPI document of the routes, with the bodies and events that the framework does not see, and the key."""
    document = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
    adapters: list[tuple[object, Literal["validation"], TypeAdapter[Any]]] = [
        (schema, "validation", TypeAdapter(schema)) for schema in UNSEEN_SCHEMAS
    ]
    _, unseen = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= unseen["$defs"]
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"key": []}]  # a server without keys takes requests without one
    return document
