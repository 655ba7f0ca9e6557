"""One request to the application, without a socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx

from foveal.accounting.accounting import Accounting
from foveal.config import HttpConfig
from foveal.http.app import create_app
from foveal.serving.served import ServedModels
from tests.fakes import FakePipeline

if TYPE_CHECKING:
    from starlette.types import ASGIApp

ASK: dict[str, Any] = {"model": "foveal-mini", "messages": [{"role": "user", "content": "Hi"}]}
COMPLETE: dict[str, Any] = {"model": "foveal-mini", "prompt": "Hi"}


def call(
    method: str,
    path: str,
    pipeline: FakePipeline | None = None,
    config: HttpConfig | None = None,
    **request: Any,
) -> httpx.Response:
    """Send one request to a new application; `request` is what httpx takes (json, content, headers)."""
    config = config or HttpConfig()
    return send(app_for(pipeline or FakePipeline(), config, accounting_for(config)), method, path, **request)


def app_for(pipeline: FakePipeline, config: HttpConfig, accounting: Accounting) -> ASGIApp:
    """The application of one model."""
    return create_app(ServedModels([pipeline]), config, accounting)


def accounting_for(config: HttpConfig) -> Accounting:
    """With the keys of the configuration alone."""
    return Accounting(api_keys=config.api_keys)


def send(app: ASGIApp, method: str, path: str, **request: Any) -> httpx.Response:
    async def exchange() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.request(method, path, **request)

    return asyncio.run(exchange())


def chat(pipeline: FakePipeline | None = None, **fields: Any) -> httpx.Response:
    return call("POST", "/v1/chat/completions", pipeline, json=ASK | fields)


def complete(pipeline: FakePipeline | None = None, **fields: Any) -> httpx.Response:
    return call("POST", "/v1/completions", pipeline, json=COMPLETE | fields)


def named_events(response: httpx.Response) -> list[tuple[str, Any]]:
    """The names and payloads of an event stream."""
    lines = [event.split("\n") for event in response.text.split("\n\n")[:-1]]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in lines]


def error(response: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = response.json()["error"]
    return found


def events(response: httpx.Response) -> list[Any]:
    """The payloads of an event stream, [DONE] as that text. Fails on anything that is not a `data:` line."""
    lines = response.text.split("\n\n")
    if lines.pop() != "" or not all(line.startswith("data: ") for line in lines):
        raise ValueError(f"not a stream of data lines: {response.text!r}")
    return [data if data == "[DONE]" else json.loads(data) for data in (line[len("data: ") :] for line in lines)]
