"""An endpoint: a path, the function that answers it, who may ask, and its documentation.

Endpoints are constants of the modules that define them. What they need of the running server is in `Context`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from starlette.requests import Request
from starlette.types import ASGIApp

if TYPE_CHECKING:
    from foveal.accounting.kept import KeptAnswers
    from foveal.accounting.totals import Totals
    from foveal.config import HttpConfig
    from foveal.http.body import BodyReader
    from foveal.http.traffic import Traffic
    from foveal.serving.served import ServedModels

Access = Literal["open", "caller", "operator"]
"""Who may ask: anyone; callers with a key; callers with an operator's key. (Without keys, loopback is both.)"""


@dataclass(frozen=True, slots=True)
class Context:
    """What endpoints may use of one application."""

    models: ServedModels
    config: HttpConfig
    bodies: BodyReader
    traffic: Traffic
    totals: Totals  # of all answers
    kept: KeptAnswers
    document: Callable[[], Mapping[str, Any]]  # the OpenAPI document


Answering = Callable[[Request, Context], Awaitable[ASGIApp]]
"""Answers a request with a response, which is an ASGI application. Raises RequestError."""


@dataclass(frozen=True, slots=True)
class Docs:
    """What the OpenAPI document has of an endpoint, besides its function's name and docstring."""

    tag: str
    content: Mapping[str, object]  # of a 200, by media type: a type, or its schema where no type says it
    description: str = "Successful Response"
    errors: tuple[int, ...] = ()
    body: type | None = None
    example: object = None
    query: Mapping[str, object] = field(default_factory=dict)  # the schema of each parameter behind the path
    more_schemas: tuple[type, ...] = ()  # those that a schema of `content` refers to


@dataclass(frozen=True, slots=True)
class Endpoint:
    path: str  # without the prefix of its API; {name} stands for one segment, {name:path} for any number
    answer: Answering
    methods: tuple[str, ...] = ("GET",)
    access: Access = "caller"
    docs: Docs | None = None  # None: the document does not mention it
    is_routine: bool = False  # asked for by programs again and again: no line in the log, but at its debug level
