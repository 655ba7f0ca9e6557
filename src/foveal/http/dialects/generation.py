"""One generation as a response, written as JSON or as a stream, and aborted when the client disconnects.

Knows no wire format, which is the writer's, and not how an answer is made, which is the served model's.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

from foveal.errors import RequestError
from foveal.http.dialects.answers import Answers
from foveal.http.dialects.disconnect import unless_client_leaves
from foveal.http.middleware.auth import caller_in
from foveal.http.responses import as_request_error, json_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from foveal.http.dialects.dialect import Writer
    from foveal.serving.served import Served
    from foveal.types import ChatRequest, CompletionRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Generation:
    """An ASGI application that generates when it is called. The choices of several requests are numbered consecutively.

    A failure before the first event is raised and becomes an error response. A later one becomes the last event.
    """

    served: Served
    requests: Sequence[ChatRequest | CompletionRequest]
    writer: Writer
    stream: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await unless_client_leaves(receive, self._answer(scope, receive, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller, request_id = caller_in(scope), scope["state"]["request_id"]
        assert caller is not None, "a generation on an open path"
        requests = [replace(request, caller=caller) for request in self.requests]
        scope["state"]["model"] = self.served.card.id
        async with AsyncExitStack() as running:
            opened = [await running.enter_async_context(self.served.answer(request)) for request in requests]
            answers = Answers(requests, opened)
            scope["state"]["answers"] = answers
            for warning in answers.warnings:
                logger.warning("request %s: %s", request_id, warning)
            if self.stream:
                await _stream(answers, self.writer, send, request_id)
            else:
                response = await _respond(answers, self.writer)
                await response(scope, receive, send)


async def _respond(answers: Answers, writer: Writer) -> Response:
    said = await answers.all_deltas()
    return json_response(await writer.whole(answers, said), _headers(answers, writer))


async def _stream(answers: Answers, writer: Writer, send: Send, request_id: str) -> None:
    """The whole 200 response, each event sent as soon as it is there."""
    events = writer.stream(answers)
    first = await anext(events)
    headers = {"content-type": writer.media_type, "cache-control": "no-cache", **_headers(answers, writer)}
    await send({"type": "http.response.start", "status": 200, "headers": MutableHeaders(headers).raw})
    async for data in _until_failure(first, events, writer, request_id):
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _until_failure(
    first: bytes, rest: AsyncIterator[bytes], writer: Writer, request_id: str
) -> AsyncIterator[bytes]:
    yield first
    try:
        async for data in rest:
            yield data
    except Exception as error:  # the status line is sent: the failure has to be the stream's last event
        if not isinstance(error, RequestError):
            logger.exception("request %s failed in its stream", request_id)
        yield writer.failure(as_request_error(error))


def _headers(answers: Answers, writer: Writer) -> dict[str, str]:
    warnings = {"x-foveal-warning": " ".join(answers.warnings)} if answers.warnings else {}
    return {**writer.headers(answers), **warnings}
