"""Asks a server of OpenAI's chat completions, or a fake one that answers from the truth or without a look."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx

from training.blind.cases import Case
from training.blind.grading import Reply


def request(case: Case, model: str, max_tokens: int) -> dict[str, Any]:
    """The body for a case; a picture without a question goes alone."""
    url = f"data:image/png;base64,{base64.b64encode(case.picture).decode()}"
    content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}}]
    if case.question:
        content.insert(0, {"type": "text", "text": case.question})
    messages = [{"role": "user", "content": content}]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": max_tokens, **case.extra}


def reply(response: httpx.Response) -> Reply:
    """What a response says; one that is an error says so, which no rule accepts."""
    if response.status_code != 200:
        return Reply(f"HTTP {response.status_code}: {response.text[:200]}")
    choice = response.json()["choices"][0]
    message = choice["message"]
    calls = tuple((c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or ())
    cut = " [cut off]" if choice.get("finish_reason") == "length" else ""
    return Reply((message.get("content") or "") + cut, calls)


def served(base_url: str, key: str) -> httpx.Client:
    """A client of a running server."""
    return httpx.Client(base_url=base_url.rstrip("/") + "/", headers={"Authorization": f"Bearer {key}"}, timeout=300)


def smallest(schema: dict[str, Any]) -> Any:
    """The first value that a schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "object":
        return {name: smallest(made) for name, made in schema["properties"].items()}
    return {"boolean": True, "integer": 1, "string": "red", "array": []}[schema["type"]]


def guess(body: dict[str, Any], word: str) -> tuple[str, str]:
    """A text and a tool's name for one that looks at nothing: the first of everything."""
    if "response_format" in body:
        return json.dumps(smallest(body["response_format"]["json_schema"]["schema"])), ""
    if "tools" not in body:
        return word, ""
    choice = body["tool_choice"]
    named = [
        t["function"]
        for t in body["tools"]
        if choice in ("required", {"type": "function", "function": {"name": t["function"]["name"]}})
    ]
    return json.dumps(smallest(named[0]["parameters"])), named[0]["name"]


def fake(kind: str, cases: list[Case], max_tokens: int) -> httpx.Client:
    """A server within this process: oracle says the truth, wrong says what is not so, any other word is all it says."""
    known = {json.dumps(request(case, "fake", max_tokens)): case for case in cases}

    def answer(sent: httpx.Request) -> httpx.Response:
        body = json.loads(sent.content)
        case = known[json.dumps(body)]
        if kind in ("oracle", "wrong"):
            text, name = (case.truth if kind == "oracle" else case.wrong), case.call
        else:
            text, name = guess(body, kind)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if name:
            function = {"name": name, "arguments": text}
            message = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
        return httpx.Response(200, json={"choices": [{"message": message, "finish_reason": "stop"}]})

    return httpx.Client(base_url="http://fake/v1/", transport=httpx.MockTransport(answer))


def asker(client: httpx.Client, model: str, max_tokens: int) -> Callable[[Case], Reply]:
    """A function that asks the client for the answer to a case."""
    return lambda case: reply(client.post("chat/completions", json=request(case, model, max_tokens)))
