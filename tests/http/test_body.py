"""Bodies that are no JSON, hostile JSON, or hold unknown fields: one sentence each, quickly."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import model_validator
from starlette.requests import Request

from foveal.config import HttpConfig
from foveal.errors import InvalidRequest
from foveal.http.body import (
    LARGE_BODY_BYTES,
    MAX_COLONS,
    MAX_FIELDS,
    MAX_JSON_VALUES,
    Body,
    BodyReader,
    parse_json,
    validate,
)
from foveal.http.dialects.openai.schemas import ChatBody
from foveal.http.dialects.wire import WireModel
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
        b"\xff\xfe{}",
        b"\xff\xfe",
        b"[" * 300 + b"]" * 300,
        b'{"a":' * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b"[" + b"[]," * MAX_JSON_VALUES + b"1]",
        b"[" + b'{"a":1},' * (MAX_COLONS + 1) + b"1]",
        b'{"a"\n:1,' * (MAX_COLONS + 1),
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


def test_unknown_fields_can_be_left_out_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    config = HttpConfig(unknown_fields="ignore")
    assert call("POST", "/v1/chat/completions", config=config, json=ASK | {"colour": "red"}).status_code == 200
    assert caplog.text == ""


def test_wrong_values_stay_errors_where_unknown_fields_are_warnings() -> None:
    with pytest.raises(InvalidRequest, match="field: 'n'"):
        validate(ASK | {"foo": 1, "n": 0}, ChatBody, "warn")


@pytest.mark.parametrize("setting", ["warn", "ignore"])
def test_a_long_conversation_may_have_an_unknown_field_in_every_message(setting: str) -> None:
    """As clients send back what another server has added to its answers."""
    turns = [{"role": "user", "content": "Hi", "sent_at": 1}] * 100
    assert len(validate(ASK | {"messages": turns}, ChatBody, setting).messages) == 100


def test_an_unknown_field_that_is_left_out_is_not_named_as_a_problem() -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(ASK | {"foo": 1, "n": 0}, ChatBody, "ignore")
    assert (caught.value.param, "foo" in caught.value.message) == ("n", False)


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
    with pytest.raises(InvalidRequest, match=r"unknown or wrong|more than 20,000 fields") as caught:
        validate(ASK | fields, ChatBody, "error")
    assert len(str(caught.value)) < 100
    assert time.thread_time() - started_s < 2


def test_validation_stops_at_the_first_limit() -> None:
    """One after the other would be 99,000; the limit admits some 10,000."""
    num_seen = 0

    class Part(WireModel):
        text: str

        @model_validator(mode="after")
        def _count(self) -> Part:
            nonlocal num_seen
            num_seen += 1
            return self

    class Parts(WireModel):
        parts: list[Part]

    with pytest.raises(InvalidRequest, match=r"more than 20,000 fields"):
        validate({"parts": [{"text": "x"}] * 99_000}, Parts, "error")
    assert num_seen <= MAX_FIELDS


def test_while_a_large_body_is_validated_the_loop_goes_on() -> None:
    """The validator waits for what only the event loop can do."""
    others_ran = threading.Event()

    class Waiting(WireModel):
        text: str

        @model_validator(mode="after")
        def _wait(self) -> Waiting:
            assert others_ran.wait(60), "the event loop stands still"
            return self

    async def run() -> Waiting:
        reading = asyncio.create_task(read({"text": "x" * LARGE_BODY_BYTES}, Waiting))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, others_ran.set)
        return await reading

    assert len(asyncio.run(run()).text) == LARGE_BODY_BYTES


async def read(body: object, schema: type[Body]) -> Body:
    async def receive() -> Message:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    scope = {"type": "http", "headers": [(b"content-type", b"application/json")], "state": {}, "client": ("::1", 1)}
    return await BodyReader(HttpConfig()).read(Request(scope, receive), schema)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_is_no_part_of_the_text(encoding: str) -> None:
    """RFC 8259 lets a parser ignore it; PowerShell and some editors write it."""
    text = json.dumps(ASK | {"user": "é日本😀"}, ensure_ascii=False)
    marked = text if encoding in ("utf-8-sig", "utf-16") else "\ufeff" + text
    assert parse_json(marked.encode(encoding)) == json.loads(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stop": ["a"] * 5}, "At most 4 entries are allowed here, field: 'stop'"),
        ({"messages": []}, "At least 1 entry is needed here, field: 'messages'"),
        ({"metadata": {str(n): "" for n in range(17)}}, "At most 16 entries are allowed here, field: 'metadata'"),
    ],
)
def test_a_list_of_the_wrong_length_is_told_in_words_about_what_was_sent(fields: dict[str, Any], message: str) -> None:
    assert error(chat(**fields))["message"] == message
