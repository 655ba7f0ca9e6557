"""Builds the ASGI application: the routes of all dialects inside the middleware (log, errors, limits, keys)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

from foveal.accounting.kept import KeptAnswers
from foveal.config import AccountingConfig
from foveal.http.body import BodyReader
from foveal.http.dialects.anthropic.dialect import ANTHROPIC
from foveal.http.dialects.azure.dialect import AZURE
from foveal.http.dialects.ollama.dialect import OLLAMA
from foveal.http.dialects.openai.dialect import MODELS, OPENAI
from foveal.http.dialects.responses.dialect import RESPONSES
from foveal.http.endpoint import Context
from foveal.http.middleware.admission import Admission
from foveal.http.middleware.auth import Authentication
from foveal.http.middleware.body_limit import BodyLimit
from foveal.http.middleware.error_responses import ErrorResponses
from foveal.http.middleware.rate_limit_headers import RateLimitHeaders
from foveal.http.middleware.request_log import RequestLog
from foveal.http.middleware.tracing import Tracing
from foveal.http.openapi import describe
from foveal.http.routes import health, metrics, pages, reference, status
from foveal.http.routing import Dispatch, Route, Routing, routes_of
from foveal.http.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp

    from foveal.accounting.accounting import Accounting
    from foveal.config import HttpConfig
    from foveal.http.dialects.dialect import Dialect
    from foveal.http.middleware.tracing import Tracer
    from foveal.serving.served import ServedModels

DIALECTS = (
    OPENAI,
    MODELS,
    RESPONSES,
    ANTHROPIC,
    OLLAMA,
    *AZURE,
)  # the first one is used where the path belongs to none
NO_DIALECTS = (*health.ENDPOINTS, metrics.ENDPOINT, reference.ENDPOINT, *pages.REFERENCE, pages.SHARED)


def create_app(
    models: ServedModels,
    config: HttpConfig,
    accounting: Accounting,
    dialects: Sequence[Dialect] = DIALECTS,
    kept: KeptAnswers | None = None,
    tracer: Tracer | None = None,
) -> ASGIApp:
    """The application that serves `models`. `accounting` tells which keys are valid and what they may take.

    `kept`: where responses are kept, by default in memory. `tracer`: gets the traces of requests, if any are wanted.
    """
    kept = kept or KeptAnswers(AccountingConfig())
    routes = all_routes(dialects, playground=config.playground, status_page=config.status_page)
    traffic = Traffic()
    bodies, document = BodyReader(config), cache(lambda: describe(routes, dialects))
    app: ASGIApp = Dispatch(Context(models, config, bodies, traffic, accounting.totals, kept, document))
    app = BodyLimit(app, config.max_body_bytes)
    app = Admission(app, accounting)
    app = Authentication(app, accounting, config.host)
    app = ErrorResponses(app)
    app = RateLimitHeaders(app, accounting)
    if config.cors_origins:
        app = CORSMiddleware(
            app, config.cors_origins, allow_methods=["GET", "POST", "DELETE"], allow_headers=["*"], expose_headers=["*"]
        )
    if tracer is not None:
        app = Tracing(app, tracer)
    app = RequestLog(app, traffic)
    return Routing(app, routes, dialects[0])


def all_routes(
    dialects: Sequence[Dialect] = DIALECTS, *, playground: bool = True, status_page: bool = True
) -> list[Route]:
    spoken = [route for dialect in dialects for route in routes_of(dialect.endpoints, dialect, dialect.prefixes)]
    others = [*NO_DIALECTS]
    if playground:
        others += pages.PLAYGROUND
    if status_page:
        others += (*pages.STATUS, status.ENDPOINT)
    return [*spoken, *routes_of(others, dialects[0], [""])]
