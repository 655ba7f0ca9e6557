"""Bodies that are no JSON, hostile JSON, or hold unknown fields: one sentence each, quickly."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request

from foveal.config import HttpConfig
from foveal.errors import InvalidRequest
from foveal.http.body import LARGE_BODY_BYTES, MAX_JSON_VALUES, BodyReader, parse_json, validate
from foveal.http.dialects.openai.schemas import ChatBody
from tests.fakes import FakePipeline
from tests.http.client import ASK, call, chat, error

if TYPE_CHECKING:
    from starlette.types import Message


def post(content: bytes, content_type: str = "application/json") -> Any:
    return call("POST", "/v1/chat/completions", content=content, headers={"content-type": content_type})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{} {}",
        b'{"model": NaN}',
        b'{"model": -Infinity}',
        b'{"model": "\xff"}',
        b'{"model": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"[" * 300 + b"]" * 300,
        b'{"a":' * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b"[" + b"[]," * MAX_JSON_VALUES + b"1]",
        b"null",
        b"[]",
        b'"text"',
    ],
)
def test_what_is_not_a_json_object_is_a_400(content: bytes) -> None:
    response = post(content)
    assert (response.status_code, error(response)["message"][:8]) == (400, "The body")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/json2"])
def test_another_content_type_is_refused(content_type: str) -> None:
    response = post(json.dumps(ASK).encode(), content_type)
    assert (response.status_code, "Content-Type" in error(response)["message"]) == (400, True)


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_taken_whatever_its_parameters(content_type: str) -> None:
    assert post(json.dumps(ASK).encode(), content_type).status_code == 200


def test_the_last_of_equal_keys_wins() -> None:
    assert parse_json(b'{"n": 1, "n": 2}') == {"n": 2}


def test_numbers_beyond_a_double_are_refused_by_the_field() -> None:
    with pytest.raises(InvalidRequest, match="finite number, field: 'temperature'"):
        validate(ASK | {"temperature": parse_json(b"1e999")}, ChatBody, "error")


def test_unknown_fields_come_in_one_message_with_short_values() -> None:
    message = error(chat(foo="x" * 5000, bar=[[[[1]]]], temperature=9))["message"]
    assert "Extra inputs are not permitted, field: 'foo', value: 'xxx" in message
    assert "Extra inputs are not permitted, field: 'bar', value: [[[...]]]" in message
    assert "field: 'temperature'" in message
    assert len(message) < 400


def test_an_unknown_field_inside_a_message_is_named_with_its_place() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache": True}]}]
    assert error(chat(messages=messages)) == {
        "object": "error",
        "type": "invalid_request_error",
        "code": "invalid_request_error",
        "message": "Extra inputs are not permitted, field: 'messages.0.content.0.cache', value: True",
        "param": "messages.0.content.0.cache",
    }


def test_unknown_fields_can_be_made_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    config = HttpConfig(unknown_fields="warn")
    pipeline = FakePipeline()
    response = call("POST", "/v1/chat/completions", pipeline, config, json=ASK | {"foo": "a secret", "n": 2})
    assert response.status_code == 500  # the script has one choice: n was understood
    assert pipeline.requests[0].options.num_choices == 2
    assert "['foo']" in caplog.text
    assert "a secret" not in caplog.text


def test_wrong_values_stay_errors_where_unknown_fields_are_warnings() -> None:
    with pytest.raises(InvalidRequest, match="field: 'n'"):
        validate(ASK | {"foo": 1, "n": 0}, ChatBody, "warn")


@pytest.mark.parametrize(
    "fields",
    [
        {f"field{i}": 1 for i in range(100_000)},
        {"messages": [{"role": "user", "content": [{"type": "x"}] * 1000}] * 100},
        {"messages": [{f"field{i}": 1 for i in range(100_000)}]},
    ],
)
def test_a_body_with_thousands_of_problems_is_refused_with_a_short_message_and_soon(fields: dict[str, Any]) -> None:
    started_s = time.thread_time()  # what it costs, however busy the machine is
    with pytest.raises(InvalidRequest, match="fields of the body are unknown or wrong") as caught:
        validate(ASK | fields, ChatBody, "error")
    assert len(str(caught.value)) < 100
    assert time.thread_time() - started_s < 2


def test_between_two_large_bodies_all_else_has_its_turn() -> None:
    order: list[str] = []
    large = json.dumps(ASK | {"messages": [{"role": "user", "content": "x" * LARGE_BODY_BYTES}]}).encode()

    async def receive() -> Message:
        return {"type": "http.request", "body": large}

    async def read(bodies: BodyReader) -> None:
        scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
        await bodies.read(Request(scope, receive), ChatBody)
        order.append("large")

    async def others() -> None:
        for _ in range(10):
            order.append("other")
            await asyncio.sleep(0)

    async def run() -> None:
        bodies = BodyReader("error")
        await asyncio.gather(others(), read(bodies), read(bodies), read(bodies))

    asyncio.run(run())
    first, second, third = (place for place, name in enumerate(order) if name == "large")
    assert second - first > 1
    assert third - second > 1
