"""Request bodies: bytes -> JSON -> a model of a dialect's schemas, or one sentence about what is wrong with them.

Knows nothing of what the fields mean. A large body is parsed and validated in a thread, one at a time, and its callers
take turns. The JSON parser holds the interpreter lock, so the number of values is bounded before it runs; validation
stops at the first limit that is passed (docs/decisions/050-bodies.md has the figures).
"""

from __future__ import annotations

import asyncio
import codecs
import logging
import reprlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from foveal.errors import InvalidRequest, Overloaded
from foveal.http.middleware.auth import sharer_in
from foveal.http.middleware.body_limit import content_length
from foveal.http.routing import route_in
from foveal.shares import Shares

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pydantic_core import ErrorDetails
    from starlette.requests import Request

    from foveal.config import HttpConfig

MAX_JSON_VALUES = 300_000  # a long context as token ids fits twice; parsing that many takes some 30 ms
MAX_COLONS = 65_536  # in texts, too; a field of an object takes the parser ten times as long as a number in a list
BUFFERED_BYTES = 64 * 1024  # of a body that nobody reads: then the connection is read no further
WAIT_S = 60.0  # for room among the bodies in flight
LARGE_BODY_BYTES = 32 * 1024  # smaller ones take the event loop some 5 ms at most
MAX_FIELDS = 20_000  # of all objects together that have fields: ten thousand content parts
MAX_PROBLEMS = 20  # described in one message; describing thousands would cost more than parsing the body
MAX_VALUE_CHARS = 60

logger = logging.getLogger(__name__)
Body = TypeVar("Body", bound=BaseModel)


class BodyReader:
    """Reads the bodies of one application. All that are being read share a budget of bytes."""

    def __init__(self, config: HttpConfig) -> None:
        self._unknown_fields = config.unknown_fields
        self._max_body_bytes = config.max_body_bytes
        self._in_flight = Shares(config.max_body_bytes_in_flight, keeps_room=True)
        self._turns = Shares(1)
        self._thread = ThreadPoolExecutor(1, "bodies")

    async def read(self, request: Request, schema: type[Body]) -> Body:
        """The request's body as a `schema`, with the fields that its path has in place of the body's.

        Raises InvalidRequest; BodyTooLarge comes from body_limit.py through `request.body()`.
        """
        if not (_is_json(request.headers.get("content-type", "")) or _may_be_of_any_type(request)):
            # This also keeps foreign web pages out: a browser sends this type across origins only after a preflight.
            raise InvalidRequest("The body must be JSON, sent with the header Content-Type: application/json.")
        async with self._room_for(request):
            data = await request.body()
            parse = partial(self._parse, data, schema, request.path_params)
            if len(data) < LARGE_BODY_BYTES:
                return parse()
            return await self._turns.run(sharer_in(request.scope), self._thread, parse)

    @asynccontextmanager
    async def _room_for(self, request: Request) -> AsyncIterator[None]:
        """Room for the body until it is parsed. What waits for it takes a connection's buffer, as a small body does."""
        num_bytes = content_length(request.scope)
        if "transfer-encoding" in request.headers:
            num_bytes = self._max_body_bytes
        if not BUFFERED_BYTES < num_bytes <= self._max_body_bytes:
            yield  # small, or refused before it is read
            return
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(WAIT_S):
                    await held.enter_async_context(self._in_flight.hold(sharer_in(request.scope), num_bytes))
            except TimeoutError:
                raise Overloaded("Too many large requests are being read. Ask again, or send URLs of images.") from None
            yield

    def _parse(self, data: bytes, schema: type[Body], fields: Mapping[str, str]) -> Body:
        value = parse_json(data)
        return validate({**value, **fields} if isinstance(value, dict) else value, schema, self._unknown_fields)


def parse_json(data: bytes) -> object:
    """One JSON value. Bounded in values, depth (200) and digits (4300) before it is built; the last of equal keys wins.

    A byte order mark is no part of the text. Raises InvalidRequest for what is not JSON: bad UTF-8, NaN, trailing text.
    """
    data = _as_utf8(data)
    codes = np.frombuffer(data, np.uint8)
    if sum(np.count_nonzero(codes == mark) for mark in b",[{") > MAX_JSON_VALUES:
        raise InvalidRequest(f"The body holds more than {MAX_JSON_VALUES} JSON values or commas.")
    if np.count_nonzero(codes == ord(":")) > MAX_COLONS:
        raise InvalidRequest(f"The body holds more than {MAX_COLONS} fields or colons.")
    try:
        value: object = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    return value


class Budget:
    """How much of one body is validated. Schemas pass each of their objects here before they look at its fields."""

    def __init__(self) -> None:
        self._num_fields = 0

    def take(self, num_fields: int) -> None:
        """Raises InvalidRequest, which ends the validation at once, where a list of problems would go on."""
        self._num_fields += num_fields
        if self._num_fields > MAX_FIELDS:
            raise InvalidRequest(f"The body has more than {MAX_FIELDS:,} fields. Send fewer messages or content parts.")


def validate(value: object, schema: type[Body], unknown_fields: str) -> Body:
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object, like the example at /docs.")
    try:
        return schema.model_validate(value, context=Budget())
    except ValidationError as error:
        if unknown_fields == "error":
            raise _refusal(error) from None
        problems = error
    try:
        known = schema.model_validate(value, extra="ignore", context=Budget())
    except ValidationError as error:  # of what is wrong, unknown fields are no part here
        raise _refusal(error) from None
    if unknown_fields == "warn":
        paths = [_path(problem) for problem in problems.errors(include_url=False, include_input=False)[:MAX_PROBLEMS]]
        logger.warning("%d unknown fields left out of a request: %s", problems.error_count(), ascii(paths))
    return known


def _refusal(error: ValidationError) -> InvalidRequest:
    if error.error_count() > MAX_PROBLEMS:
        return InvalidRequest(f"{error.error_count()} fields of the body are unknown or wrong.")
    problems = sorted(error.errors(include_url=False), key=_is_unknown, reverse=True)
    return InvalidRequest("; ".join(map(_describe, problems)), param=_path(problems[0]))


def _as_utf8(data: bytes) -> bytes:
    """The same text in UTF-8, without a byte order mark: some clients write one, and some of those write UTF-16."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace").encode()
    return data.removeprefix(codecs.BOM_UTF8)


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _may_be_of_any_type(request: Request) -> bool:
    """Whether the dialect has it so, and no web page asks: a browser names a page's origin with every POST."""
    is_of_page = "origin" in request.headers or "sec-fetch-site" in request.headers
    return route_in(request.scope).dialect.takes_any_type and not is_of_page


def _is_unknown(problem: ErrorDetails) -> bool:
    return problem["type"] == "extra_forbidden"


def _describe(problem: ErrorDetails) -> str:
    if _is_unknown(problem):
        return f"{problem['msg']}, field: '{_path(problem)}', value: {_shortened.repr(problem['input'])}"
    return f"{_message(problem)}, field: '{_path(problem)}'"


def _message(problem: ErrorDetails) -> str:
    """What is wrong, in words about what was sent, where the library's are about what it did with it."""
    match problem["type"]:
        case "too_long":
            return f"At most {problem['ctx']['max_length']} entries are allowed here"
        case "too_short":
            return f"At least {problem['ctx']['min_length']} entry is needed here"
    return problem["msg"]


def _path(problem: ErrorDetails) -> str:
    """messages.0.content, without the tags of unions."""
    *parents, name = problem["loc"]
    steps = [step for step in parents if not str(step).startswith("<")]
    if _is_unknown(problem) or not str(name).startswith("<"):
        steps.append(name)
    return ".".join(str(step)[:MAX_VALUE_CHARS] for step in steps)


_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = MAX_VALUE_CHARS
_shortened.maxlevel = 2
