"""Finds a request's route before anything else, since who may ask and how errors are written depend on it.

Every request has a route. A path without an endpoint gets one that answers 404, in the dialect of the nearest paths.
HEAD is GET, whose body the server does not send.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.routing import compile_path

from foveal.errors import MethodNotAllowed, NotFound
from foveal.http.endpoint import Endpoint

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from foveal.http.dialects.dialect import Dialect
    from foveal.http.endpoint import Context

NO_ROUTE = "none"


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint at one of its paths."""

    path: str
    endpoint: Endpoint
    dialect: Dialect  # which writes its errors and names its keys' headers
    is_documented: bool = False
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", compile_path(self.path)[0])


def routes_of(endpoints: Sequence[Endpoint], dialect: Dialect, prefixes: Sequence[str]) -> list[Route]:
    """The endpoints under every prefix; the document describes the first one."""
    return [
        Route(prefix + endpoint.path, endpoint, dialect, prefix == prefixes[0] and endpoint.docs is not None)
        for prefix in prefixes
        for endpoint in endpoints
    ]


class Routing:
    """Outermost ASGI middleware: puts the route (`route_in`) and the path's parameters into the scope."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route], default: Dialect) -> None:
        methods = [(route.path, method) for route in routes for method in route.endpoint.methods]
        assert len(methods) == len(set(methods)), "two endpoints for one path and method"
        self.app = app
        self.routes = routes
        self.default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} here")  # what ASGI asks of applications without lifespan
        scope["route"], scope["path_params"] = self.find(scope["method"], scope["path"])
        await self.app(scope, receive, send)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The first route for method and path, with the path's parameters; or one whose endpoint raises the error.

        A slash at the end of a path means nothing, as some clients' base URLs end in one.
        """
        path, at_path = path.removesuffix("/") or path, []
        method = "GET" if method == "HEAD" else method
        for route in self.routes:
            if match := route.pattern.fullmatch(path):  # `match` would accept a line break after the path
                if method in route.endpoint.methods:
                    return route, match.groupdict()
                at_path.append(route)
        return (_refusing_method(at_path) if at_path else self._nowhere(path)), {}

    def _nowhere(self, path: str) -> Route:
        """In the dialect whose paths begin most like this one, as its clients send their keys and read errors."""
        nearest = max(self.routes, key=lambda route: _num_shared_steps(route.path, path), default=None)
        dialect = self.default if nearest is None else nearest.dialect
        return Route(f"/{NO_ROUTE}", Endpoint(NO_ROUTE, _nothing_here), dialect)


class Dispatch:
    """Innermost ASGI application: the answer of the route's endpoint."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await route_in(scope).endpoint.answer(Request(scope, receive, send), self.context)
        await response(scope, receive, send)


def route_in(scope: Scope) -> Route:
    """The route of a request that came through `Routing`."""
    route: Route = scope["route"]
    return route


def _num_shared_steps(path: str, other: str) -> int:
    """How many segments two paths have alike from the beginning on."""
    pairs = zip(path.split("/"), other.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


async def _nothing_here(request: Request, context: Context) -> ASGIApp:
    raise NotFound("There is nothing at this path; /docs lists what there is.")


def _refusing_method(at_path: Sequence[Route]) -> Route:
    """The route at the path, with its access, whose endpoint refuses the method."""
    methods = {method for route in at_path for method in route.endpoint.methods}
    allowed = sorted(methods | {"HEAD"} if "GET" in methods else methods)

    async def refuse(request: Request, context: Context) -> ASGIApp:
        raise MethodNotAllowed("This path does not take this method; /docs says what it takes.", allowed)

    return replace(at_path[0], endpoint=replace(at_path[0].endpoint, answer=refuse))
