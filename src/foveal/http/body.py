"""Request bodies: bytes -> JSON -> a model of a dialect's schemas, or one sentence about what is wrong with them.

Knows nothing of what the fields mean. Parsing runs on the event loop: the parser holds the interpreter lock, so a
thread would gain nothing. The bounds here keep it short (docs/decisions/050-bodies.md has the figures).
"""

from __future__ import annotations

import asyncio
import logging
import reprlib
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from foveal.errors import InvalidRequest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from starlette.requests import Request

MAX_JSON_VALUES = 300_000  # a long context as token ids fits twice; parsing that many takes some 30 ms
LARGE_BODY_BYTES = 256 * 1024
MAX_PROBLEMS = 20  # described in one message; describing thousands would cost more than parsing the body
MAX_VALUE_CHARS = 60

logger = logging.getLogger(__name__)
Body = TypeVar("Body", bound=BaseModel)


class BodyReader:
    """Reads the bodies of one application. `unknown_fields`: "error", or "warn" to log them and leave them out."""

    def __init__(self, unknown_fields: str) -> None:
        self._unknown_fields = unknown_fields
        self._turn = asyncio.Lock()

    async def read(self, request: Request, schema: type[Body]) -> Body:
        """The request's body as a `schema`.

        Raises InvalidRequest; BodyTooLarge comes from body_limit.py through `request.body()`.
        """
        if not _is_json(request.headers.get("content-type", "")):
            # This also keeps foreign web pages out: a browser sends this type across origins only after a preflight.
            raise InvalidRequest("The body must be JSON, sent with the header Content-Type: application/json.")
        data = await request.body()
        if len(data) < LARGE_BODY_BYTES:
            return self._parse(data, schema)
        async with self._turn:  # one large body at a time, so that other tasks run between two of them
            await asyncio.sleep(0)
            return self._parse(data, schema)

    def _parse(self, data: bytes, schema: type[Body]) -> Body:
        return validate(parse_json(data), schema, self._unknown_fields)


def parse_json(data: bytes) -> object:
    """One JSON value. Bounded in values, depth (200) and digits (4300) before it is built; the last of equal keys wins.

    Raises InvalidRequest for all else that is not JSON: bad UTF-8, NaN, trailing text.
    """
    codes = np.frombuffer(data, np.uint8)
    if sum(np.count_nonzero(codes == mark) for mark in b",[{") > MAX_JSON_VALUES:
        raise InvalidRequest(f"The body holds more than {MAX_JSON_VALUES} JSON values or commas.")
    try:
        value: object = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    return value


def validate(value: object, schema: type[Body], unknown_fields: str) -> Body:
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object, like the example at /docs.")
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        if error.error_count() > MAX_PROBLEMS:
            raise InvalidRequest(f"{error.error_count()} fields of the body are unknown or wrong.") from None
        problems = error.errors(include_url=False, include_context=False)
    problems.sort(key=_is_unknown, reverse=True)
    if unknown_fields != "warn" or not _is_unknown(problems[-1]):
        raise InvalidRequest("; ".join(map(_describe, problems)), param=_path(problems[0]))
    logger.warning("unknown fields left out of a request: %s", ascii([_path(problem) for problem in problems]))
    return schema.model_validate(value, extra="ignore")


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _is_unknown(problem: ErrorDetails) -> bool:
    return problem["type"] == "extra_forbidden"


def _describe(problem: ErrorDetails) -> str:
    if _is_unknown(problem):
        return f"{problem['msg']}, field: '{_path(problem)}', value: {_shortened.repr(problem['input'])}"
    return f"{problem['msg']}, field: '{_path(problem)}'"


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
