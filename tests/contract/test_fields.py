"""A tiny checkpoint behind the whole application: what request fields do to real answers."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from foveal.config import Config, EngineConfig, ImageConfig, ModelConfig, PriceConfig
from foveal.engine_client.local import LocalEngine
from foveal.http.app import create_app
from foveal.serving.lifecycle import Service
from foveal.serving.served import ServedModels
from tests.builders import picture, tiny_phi3_v

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

Reply = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_phi3_v(tmp_path_factory.mktemp("checkpoint") / "tiny")


def post_all(folder: Path, *requests: tuple[str, Reply]) -> list[Reply]:
    """The replies to (path under /v1, fields) pairs, asked one after another of one server that is fresh."""

    async def ask() -> list[Reply]:
        async with client(folder) as http:
            return [(await http.post(path, json={"model": "tiny"} | fields)).json() for path, fields in requests]

    return asyncio.run(ask())


def post(folder: Path, path: str, **fields: Any) -> Reply:
    return post_all(folder, (path, fields))[0]


@asynccontextmanager
async def client(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    config = Config(
        model=ModelConfig(path=str(folder)),
        engine=EngineConfig(dtype="float32", num_threads=1, kv_cache_bytes=1 << 22),
        images=ImageConfig(num_workers=0, arena_bytes=1 << 22),
        prices=PriceConfig(prompt=2.0, completion=8.0),
    )
    service = Service(config, folder)
    await service.start(LocalEngine.start)
    try:
        transport = httpx.ASGITransport(create_app(ServedModels([service.pipeline]), config.http, service.accounting))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1/") as http:
            yield http
    finally:
        await service.close()


def png(width: int, height: int, seed: int = 0) -> str:
    buffer = io.BytesIO()
    picture(width, height, seed).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def chat(*images: str, text: str = "What is it?", **fields: Any) -> tuple[str, Reply]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    content = [*parts, {"type": "text", "text": text}]
    return "chat/completions", {"messages": [{"role": "user", "content": content}], "max_tokens": 4} | fields


def cached(replies: Sequence[Reply]) -> list[bool]:
    return [reply["usage"]["prompt_tokens_details"]["cached_tokens"] > 0 for reply in replies]


# --- caching ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "is_shared"),
    [
        ({}, {}, True),
        ({"prompt_cache_isolation_key": "a"}, {"prompt_cache_isolation_key": "a"}, True),
        ({"prompt_cache_isolation_key": "a"}, {"prompt_cache_isolation_key": "b"}, False),
        ({"prompt_cache_isolation_key": "a"}, {}, False),
        ({}, {"prompt_cache_max_len": 0}, False),
        ({"prompt_cache_max_len": 0}, {}, False),
        ({"prompt_cache_max_len": 0}, {"prompt_cache_max_len": 0}, False),
        ({}, {"prompt_cache_max_len": 16}, True),
        ({"user": "me", "metadata": {"a": "b"}, "prompt_cache_key": "k"}, {"user": "you"}, True),
    ],
)
def test_which_requests_share_what_was_computed(folder: Path, first: Reply, second: Reply, is_shared: bool) -> None:
    replies = post_all(folder, chat(png(28, 28), **first), chat(png(28, 28), **second))
    assert cached(replies) == [False, is_shared]
    assert replies[0]["choices"][0]["message"]["content"] is not None


def test_no_more_prompt_tokens_are_cached_than_allowed(folder: Path) -> None:
    *_, limited = post_all(folder, chat(png(28, 28)), chat(png(28, 28), prompt_cache_max_len=20))
    assert limited["usage"]["prompt_tokens_details"]["cached_tokens"] == 16


# --- logprobs of prompts ----------------------------------------------------------------------------------------------


def test_a_prompts_logprobs_are_those_that_its_tokens_had_when_they_were_generated(folder: Path) -> None:
    """What the model said token by token, asked again as a prompt that the cache knows."""
    ask = {"prompt": "a shape", "max_tokens": 12, "temperature": 0, "logprobs": 2, "ignore_eos": True}
    said = post(folder, "completions", **ask, return_token_ids=True)["choices"][0]
    prompt = said["prompt_token_ids"] + said["token_ids"]
    again = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 2, "echo": True}
    _, echoed = post_all(folder, ("completions", ask), ("completions", again))

    columns = echoed["choices"][0]["logprobs"]
    generated = columns["token_logprobs"][len(said["prompt_token_ids"]) : len(prompt)]
    assert columns["token_ids"][: len(prompt)] == prompt
    assert columns["token_logprobs"][0] is None
    assert generated == pytest.approx(said["logprobs"]["token_logprobs"], abs=1e-4)
    assert echoed["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_an_image_has_places_without_logprobs_and_the_text_behind_it_has_some(folder: Path) -> None:
    fields = {"prompt": "a <image>b", "images": [png(28, 28)], "max_tokens": 2, "echo": True, "logprobs": 0}
    answered = post(folder, "completions", **fields)
    (choice,) = answered["choices"]
    columns, num_prompt_tokens = choice["logprobs"], answered["usage"]["prompt_tokens"]
    assert len(columns["tokens"]) == len(columns["text_offset"]) >= num_prompt_tokens
    num_unpredicted = columns["token_logprobs"][:num_prompt_tokens].count(None)
    assert 1 < num_unpredicted <= answered["usage"]["prompt_tokens_details"]["image_tokens"] + 1
    assert columns["token_logprobs"][num_prompt_tokens - 1] <= 0
    assert columns["tokens"][num_prompt_tokens - 1] == "b"
    assert columns["text_offset"][num_prompt_tokens - 1] == choice["text"].index("b")
    assert columns["text_offset"] == sorted(columns["text_offset"])


# --- tokenize ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        pytest.param(*chat(), id="text"),
        pytest.param(*chat(png(28, 28), png(90, 30)), id="two pictures"),
        pytest.param(
            "completions", {"prompt": "a <image> b", "images": [png(40, 80)], "max_tokens": 4}, id="completion"
        ),
        pytest.param("completions", {"prompt": ["a", "bc"], "n": 2, "max_tokens": 4}, id="several prompts"),
    ],
)
def test_tokenize_counts_what_usage_will_say(folder: Path, path: str, fields: Reply) -> None:
    measured, answered = post_all(folder, ("tokenize", fields), (path, fields))
    usage = answered["usage"]
    details = usage["prompt_tokens_details"]
    assert measured["prompt_tokens"] == usage["prompt_tokens"]
    assert (measured["image_tokens"], measured["text_tokens"]) == (details["image_tokens"], details["text_tokens"])
    assert sum(image["tokens"] for image in measured["images"]) == details["image_tokens"]
    assert measured["max_completion_tokens"] >= usage["completion_tokens"]
    assert measured["price"]["prompt"] == pytest.approx(usage["prompt_tokens"] * 2e-6)


def test_a_chat_is_cut_to_its_last_turns(folder: Path) -> None:
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "image_url", "image_url": png(28, 28)}]},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "Q"},
    ]
    asked = {"messages": messages, "max_tokens": 2, "prompt_truncate_len": 20, "echo": True}
    measured, answered, refused = post_all(
        folder, ("tokenize", asked), ("chat/completions", asked), ("tokenize", asked | {"prompt_truncate_len": 9})
    )
    assert (measured["images"], measured["prompt_tokens"]) == ([], answered["usage"]["prompt_tokens"])
    prompt = "<|system|>\nS<|end|>\n<|user|>\nQ<|end|>\n<|assistant|>\n"
    assert answered["choices"][0]["message"]["content"].startswith(prompt)
    assert refused["error"]["param"] == "messages"
    assert "takes more than 9 tokens" in refused["error"]["message"]


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_a_prompt_of_the_returned_token_ids_goes_on_with_the_returned_token_ids(folder: Path, path: str) -> None:
    fields: Reply = {"max_tokens": 5, "temperature": 0, "return_token_ids": True, "raw_output": True}
    asked = chat(**fields)[1] if path == "chat/completions" else {"prompt": "What is it?"} | fields
    told = post(folder, path, **asked)
    choice = told["choices"][0]
    prompt_token_ids = choice["raw_output"]["prompt_token_ids"]
    assert prompt_token_ids == (told if path == "chat/completions" else choice)["prompt_token_ids"]
    again = post(folder, "completions", prompt=prompt_token_ids, **fields)
    assert again["choices"][0]["token_ids"] == choice["token_ids"] == choice["raw_output"]["completion_token_ids"]
    assert again["usage"]["completion_tokens"] == len(choice["token_ids"])


def test_safe_tokenization_makes_special_tokens_text(folder: Path) -> None:
    prompt = {"prompt": "<|end|>", "return_token_ids": True}
    special, text = post_all(folder, ("tokenize", prompt), ("tokenize", prompt | {"safe_tokenization": True}))
    assert (special["prompt_tokens"], text["prompt_tokens"]) == (2, 8)


# --- response_format --------------------------------------------------------------------------------------------------

SHAPE = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}


def test_a_stream_keeps_the_shape_too(folder: Path) -> None:
    path, fields = chat(png(28, 28), response_format={"type": "json_schema", "json_schema": SHAPE}, max_tokens=200)

    async def stream() -> str:
        async with client(folder) as http:
            response = await http.post(path, json={"model": "tiny", "stream": True} | fields)
        *events, _ = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
        choices = [json.loads(event)["choices"][0] for event in events]
        return "".join(choice["delta"].get("content", "") for choice in choices)

    assert json.loads(asyncio.run(stream())).keys() == {"colour", "count"}


@pytest.mark.slow
def test_any_json_object_is_one_or_was_cut(folder: Path) -> None:
    choices = post(folder, "completions", prompt="{", response_format={"type": "json_object"}, n=4)["choices"]
    for choice in choices:
        assert choice["text"].lstrip().startswith("{")
        assert choice["finish_reason"] == "length" or isinstance(json.loads(choice["text"]), dict)


def test_a_grammar_says_the_only_words(folder: Path) -> None:
    grammar = {"type": "grammar", "grammar": 'root ::= "yes" | "no"'}
    asked = {"prompt": "Is it?", "response_format": grammar, "n": 8, "seed": 1, "raw_output": True}
    choices = post(folder, "completions", **asked)["choices"]
    assert all("yes" in choice["raw_output"]["grammar"] for choice in choices)
    assert {choice["text"] for choice in choices} == {"yes", "no"}
    assert {choice["finish_reason"] for choice in choices} == {"stop"}


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_schema", "json_schema": {"type": "nonsense"}},
        {"type": "grammar", "grammar": "}{"},
        {"type": "json_schema", "json_schema": {"$ref": "file:///etc/passwd"}},
    ],
)
def test_a_schema_that_cannot_be_compiled_is_a_400_before_anything_runs(folder: Path, response_format: Reply) -> None:
    fields = chat(response_format=response_format)[1]
    for path in ("chat/completions", "tokenize"):
        error = post(folder, path, **fields)["error"]
        assert (error["param"], error["code"]) == ("response_format", "invalid_request_error")


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_schema", "json_schema": {"name": "shape", "schema": SHAPE, "strict": True}},
        {"type": "json_schema", "json_schema": SHAPE},
        {"type": "json_object", "schema": SHAPE},
    ],
)
def test_an_answer_has_the_shape_that_was_asked_for(folder: Path, response_format: Reply, temperature: float) -> None:
    fields: Reply = {"response_format": response_format, "temperature": temperature, "max_tokens": 200}
    [reply] = post_all(folder, chat(png(28, 28), **fields))
    choice = reply["choices"][0]
    found = json.loads(choice["message"]["content"])
    assert choice["finish_reason"] == "stop"
    assert found.keys() == {"colour", "count"}
    assert found["colour"] in ("red", "green")
    assert 0 <= found["count"] <= 9
