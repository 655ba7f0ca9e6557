"""Responses over HTTP: the reply, the events, what is kept and who finds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from foveal.accounting.kept import KeptAnswers
from foveal.config import AccountingConfig, HttpConfig
from foveal.errors import GenerationFailed
from foveal.http.app import create_app
from foveal.serving.served import ServedModels
from foveal.types import ChatRequest, Delta, ImageRef, Message, TokenLogprob, ToolCallDelta
from tests.fakes import FakePipeline
from tests.http.client import accounting_for, call, error, named_events

ASK: dict[str, Any] = {"model": "foveal-mini", "input": "Hi"}
THOUGHTS_AND_A_CALL = (
    Delta(0, reasoning="hm"),
    Delta(0, "I "),
    Delta(0, "look."),
    Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "look", '{"at"'),)),
    Delta(0, finish_reason="tool_calls", tool_calls=(ToolCallDelta(0, arguments=": 1}", is_last=True),)),
)
RED = TokenLogprob(5, "red", b"red", -0.5, (TokenLogprob(6, "blue", b"blue", None),))

Client = httpx.AsyncClient


def ask(pipeline: FakePipeline | None = None, **fields: Any) -> httpx.Response:
    return call("POST", "/v1/responses", pipeline, json=ASK | fields)


def in_one_server(
    work: Callable[[Client, FakePipeline], Awaitable[None]], keys: tuple[str, ...] = (), days: int = 30
) -> None:
    """Several requests to one application."""

    @asynccontextmanager
    async def client(pipeline: FakePipeline) -> AsyncIterator[Client]:
        config = HttpConfig(api_keys=keys)
        kept = KeptAnswers(AccountingConfig(responses_days=days))
        app = create_app(ServedModels([pipeline]), config, accounting_for(config), kept=kept)
        async with Client(transport=httpx.ASGITransport(app), base_url="http://localhost/v1") as client:
            yield client
        await kept.close()

    async def run() -> None:
        pipeline = FakePipeline()
        async with client(pipeline) as opened:
            await work(opened, pipeline)

    asyncio.run(run())


async def post(client: Client, **fields: Any) -> dict[str, Any]:
    reply: dict[str, Any] = (await client.post("/responses", json=ASK | fields)).json()
    return reply


# --- the reply --------------------------------------------------------------------------------------------------------


def test_a_response() -> None:
    response = ask(instructions="Be brief.", metadata={"a": "b"}, max_output_tokens=9)
    reply, number = response.json(), response.headers["x-request-id"]
    assert reply["id"] == f"resp_{number}"
    assert (reply["object"], reply["status"], reply["error"], reply["store"]) == ("response", "completed", None, True)
    assert (reply["instructions"], reply["metadata"], reply["max_output_tokens"]) == ("Be brief.", {"a": "b"}, 9)
    assert reply["output"] == [
        {
            "type": "message",
            "id": f"msg_{number}_0",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
        }
    ]
    assert reply["usage"] == {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 14,
    }


def test_an_answer_that_was_cut_is_incomplete() -> None:
    reply = ask(FakePipeline((Delta(0, "Hel"), Delta(0, finish_reason="length")))).json()
    assert (reply["status"], reply["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert reply["output"][0]["status"] == "incomplete"


def test_reasoning_and_calls_are_items() -> None:
    reply = ask(FakePipeline(THOUGHTS_AND_A_CALL)).json()
    reasoning, message, call_ = reply["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert message["content"][0]["text"] == "I look."
    assert (call_["call_id"], call_["name"], call_["arguments"]) == ("call_1", "look", '{"at": 1}')


def test_logprobs() -> None:
    script = (Delta(0, "red", (RED,)), Delta(0, finish_reason="stop"))
    (item,) = ask(FakePipeline(script), top_logprobs=1).json()["output"]
    assert item["content"][0]["logprobs"] == [
        {
            "token": "red",
            "bytes": [114, 101, 100],
            "logprob": -0.5,
            "top_logprobs": [{"token": "blue", "bytes": [98, 108, 117, 101], "logprob": -9999.0}],
        }
    ]


# --- the stream -------------------------------------------------------------------------------------------------------


def test_a_stream_has_all_events_in_order_with_their_numbers() -> None:
    events = named_events(ask(FakePipeline(THOUGHTS_AND_A_CALL), stream=True))
    assert [payload["sequence_number"] for _, payload in events] == list(range(len(events)))
    assert all(name == payload["type"] for name, payload in events)
    assert [name.removeprefix("response.") for name, _ in events] == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done",
        "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip


def test_a_streams_parts_give_the_same_as_its_last_event() -> None:
    events = [payload for _, payload in named_events(ask(FakePipeline(THOUGHTS_AND_A_CALL), stream=True))]
    whole = events[-1]["response"]["output"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    added = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    pieces = ["", "", ""]
    for event in events:
        if event["type"].endswith(".delta"):
            pieces[event["output_index"]] += event["delta"]
    assert done == whole
    assert pieces == ["hm", "I look.", '{"at": 1}']
    assert [item["status"] for item in added] == ["in_progress"] * 3
    assert [item.get("content") or item.get("arguments") or None for item in added] == [None] * 3


def test_a_stream_that_was_cut_ends_incomplete() -> None:
    events = named_events(ask(FakePipeline((Delta(0, "Hel"), Delta(0, finish_reason="length"))), stream=True))
    assert events[-1][0] == "response.incomplete"
    assert events[-2][1]["item"]["status"] == "incomplete"


def test_an_error_in_a_stream_is_its_last_event() -> None:
    events = named_events(ask(FakePipeline([Delta(0, "a"), GenerationFailed("it broke")]), stream=True))
    name, last = events[-1]
    assert (name, last["sequence_number"]) == ("response.failed", len(events) - 1)
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "it broke"}


def test_an_error_before_it_is_as_in_the_other_endpoints() -> None:
    response = ask(model="other", stream=True)
    assert (response.status_code, error(response)["code"]) == (404, "NOT_FOUND")


def test_tokens_are_counted_without_an_answer() -> None:
    response = call("POST", "/v1/responses/input_tokens", json=ASK)
    assert response.json() == {"object": "response.input_tokens", "input_tokens": 3}


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_goes_on_from_a_kept_response(stream: bool) -> None:
    async def work(client: Client, pipeline: FakePipeline) -> None:
        image = {"type": "input_image", "image_url": "https://x/a.png", "detail": "low"}
        question = {"role": "user", "content": [image, {"type": "input_text", "text": "What?"}]}
        asked = await client.post("/responses", json=ASK | {"input": [question], "stream": stream, "instructions": "A"})
        first = named_events(asked)[-1][1]["response"]["id"] if stream else asked.json()["id"]
        second = await post(client, input="Why?", previous_response_id=first)
        await post(client, input="So?", previous_response_id=second["id"], instructions="B")
        last = pipeline.requests[-1]
        assert isinstance(last, ChatRequest)
        assert last.messages == (
            Message("system", ("B",)),
            Message("user", (ImageRef("https://x/a.png", 1, "low"), "What?")),
            Message("assistant", ("Hello",)),
            Message("user", ("Why?",)),
            Message("assistant", ("Hello",)),
            Message("user", ("So?",)),
        )

    in_one_server(work)


def test_an_item_of_a_kept_response_can_be_referred_to() -> None:
    async def work(client: Client, pipeline: FakePipeline) -> None:
        first = await post(client)
        reference = {"type": "item_reference", "id": first["output"][0]["id"]}
        await post(client, input=[reference, {"role": "user", "content": "So?"}])
        last = pipeline.requests[-1]
        assert isinstance(last, ChatRequest)
        assert last.messages == (Message("assistant", ("Hello",)), Message("user", ("So?",)))
        refused = await client.post("/responses", json=ASK | {"input": [{"id": "msg_nowhere_0"}]})
        assert (refused.status_code, error(refused)["param"]) == (404, "input")
        gone = f"msg_{'0' * 32}_0"
        refused = await client.post("/responses", json=ASK | {"input": [{"id": gone}]})
        assert (refused.status_code, error(refused)["param"]) == (404, "input")
        refused = await client.post("/responses", json=ASK | {"previous_response_id": "resp_0"})
        assert (refused.status_code, error(refused)["param"]) == (404, "previous_response_id")
        assert "param" not in error(await client.get("/responses/resp_0"))

    in_one_server(work)


def test_a_kept_response_is_found_listed_and_deleted() -> None:
    async def work(client: Client, pipeline: FakePipeline) -> None:
        first, second = await post(client), await post(client)
        assert (await client.get(f"/responses/{first['id']}")).json() == first
        listed = (await client.get("/responses?limit=1")).json()
        assert (listed["data"], listed["has_more"]) == ([second], True)
        assert (await client.get(f"/responses?after={second['id']}")).json()["data"] == [first]
        deleted = await client.delete(f"/responses/{first['id']}")
        assert deleted.json() == {"id": first["id"], "object": "response", "deleted": True}
        assert (await client.get(f"/responses/{first['id']}")).status_code == 404

    in_one_server(work)


def test_input_items_are_listed_with_ids() -> None:
    async def work(client: Client, pipeline: FakePipeline) -> None:
        items = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        response = await post(client, input=items)
        listed = (await client.get(f"/responses/{response['id']}/input_items?order=asc&limit=1")).json()
        (item,) = listed["data"]
        assert item["content"] == [{"type": "input_text", "text": "Be brief."}]
        assert (listed["first_id"], listed["has_more"]) == (item["id"], True)
        newest = (await client.get(f"/responses/{response['id']}/input_items")).json()["data"][0]
        assert newest["content"] == [{"type": "input_text", "text": "Hi"}]

    in_one_server(work)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=" + "9" * 30])
def test_a_limit_out_of_range_is_named(query: str) -> None:
    response = call("GET", f"/v1/responses?{query}")
    assert (response.status_code, error(response)["param"]) == (400, "limit")


def test_what_is_not_to_be_kept_is_not_found() -> None:
    async def work(client: Client, pipeline: FakePipeline) -> None:
        reply = await post(client, store=False)
        assert reply["store"] is False
        assert (await client.get(f"/responses/{reply['id']}")).status_code == 404

    in_one_server(work)


def test_a_server_that_keeps_nothing_says_so_to_who_asks() -> None:
    async def work(client: Client, pipeline: FakePipeline) -> None:
        assert (await post(client))["store"] is False
        refused = await client.post("/responses", json=ASK | {"store": True})
        assert (refused.status_code, error(refused)["param"]) == (400, "store")

    in_one_server(work, days=0)


def test_a_failed_response_is_not_kept() -> None:
    async def work(client: Client, pipeline: FakePipeline) -> None:
        pipeline.script = [Delta(0, "a"), GenerationFailed("it broke")]
        await client.post("/responses", json=ASK | {"stream": True})
        assert (await client.get("/responses")).json()["data"] == []

    in_one_server(work)


def test_kept_responses_need_a_key_where_others_do() -> None:
    async def work(client: Client, pipeline: FakePipeline) -> None:
        for method, path in (("GET", "/responses"), ("GET", "/responses/x"), ("DELETE", "/responses/x")):
            assert (await client.request(method, path)).status_code == 401

    in_one_server(work, keys=("secret",))
