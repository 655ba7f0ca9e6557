"""What request fields mean: each has its effect, or is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from foveal.config import HttpConfig
from foveal.errors import InvalidRequest
from foveal.http.body import validate
from foveal.http.dialects.openai.parse import chat_request, completion_requests, isolated
from foveal.http.dialects.openai.schemas import ChatBody, CompletionBody
from foveal.types import (
    ChatRequest,
    CompletionRequest,
    File,
    GenerationOptions,
    Grammar,
    ImageRef,
    Message,
    SamplingParams,
)
from tests.fakes import CARD
from tests.http.client import ASK, COMPLETE

FRESH_SEED = 77


def parse_chat(**fields: Any) -> ChatRequest:
    return chat_request(validate(ASK | fields, ChatBody, "error"), CARD, HttpConfig(), FRESH_SEED)


def parse_completion(**fields: Any) -> tuple[CompletionRequest, ...]:
    return completion_requests(validate(COMPLETE | fields, CompletionBody, "error"), CARD, HttpConfig(), FRESH_SEED)


def user(*parts: object) -> dict[str, object]:
    return {"role": "user", "content": list(parts)}


def image(url: str, **more: str | int) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


# --- fields with an effect --------------------------------------------------------------------------------------------


def test_absent_sampling_fields_come_from_the_checkpoint() -> None:
    assert parse_chat().options == GenerationOptions(
        sampling=SamplingParams(temperature=0.5, top_p=0.9, max_tokens=2048, seed=FRESH_SEED)
    )


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("temperature", 0, 0.0),
        ("top_p", 0.1, 0.1),
        ("top_k", 40, 40),
        ("min_p", 0.05, 0.05),
        ("typical_p", 0.5, 0.5),
        ("mirostat_target", 5, 5.0),
        ("mirostat_target", 0, None),
        ("mirostat_lr", 0.2, 0.2),
        ("frequency_penalty", -2, -2.0),
        ("presence_penalty", 2, 2.0),
        ("repetition_penalty", 1.1, 1.1),
        ("min_tokens", 5, 5),
        ("ignore_eos", True, True),
        ("seed", 3, 3),
        ("seed", -1, 2**63 - 1),
        ("logit_bias", {"7": -100, "8": 1.5}, ((7, -100.0), (8, 1.5))),
    ],
)
def test_a_sampling_field_changes_the_sampling(field: str, value: object, expected: object) -> None:
    found = parse_chat(**{field: value}).options.sampling, parse_completion(**{field: value})[0].options.sampling
    assert [getattr(sampling, field) for sampling in found] == [expected, expected]


@pytest.mark.parametrize(
    ("fields", "option", "expected"),
    [
        ({"max_tokens": 5}, "max_tokens", 5),
        ({"max_completion_tokens": 5}, "max_tokens", 5),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", 5),
        ({"n": 3}, "num_choices", 3),
        ({"stop": "END"}, "stop", ("END",)),
        ({"stop": ["a", "b"]}, "stop", ("a", "b")),
        ({"context_length_exceeded_behavior": "error"}, "when_too_long", "error"),
        ({"context_length_exceeded_behavior": "truncate"}, "when_too_long", "truncate"),
        ({"echo": True}, "echo", True),
        ({"echo_last": 3}, "echo_last", 3),
        ({"prompt_truncate_len": 100}, "max_prompt_tokens", 100),
        ({"prompt_cache_max_len": 0}, "max_cached_tokens", 0),
        ({"prompt_cache_max_len": 64}, "max_cached_tokens", 64),
    ],
)
def test_an_option(fields: dict[str, Any], option: str, expected: object) -> None:
    assert getattr(parse_chat(**fields).options, option) == expected


def test_an_isolation_key_becomes_a_salt_that_does_not_tell_it() -> None:
    salts = [parse_chat(prompt_cache_isolation_key=key).options.cache_salt for key in ("me", "me", "you", "")]
    assert salts[0] == salts[1]
    assert len({parse_chat().options.cache_salt, *salts}) == 4
    assert b"me" not in salts[0]


def test_an_isolation_key_may_come_in_the_header_but_the_bodys_wins() -> None:
    headers = {"x-prompt-cache-isolation-key": "header"}
    silent, telling = (
        validate(ASK | fields, ChatBody, "error") for fields in ({}, {"prompt_cache_isolation_key": "body"})
    )
    found = [isolated(body, headers).prompt_cache_isolation_key for body in (silent, telling)]
    assert found == ["header", "body"]
    assert isolated(silent, {}) is silent


def test_a_response_format_is_a_grammar() -> None:
    options = parse_chat(response_format={"type": "json_object"}).options
    assert options.grammar == Grammar("json_schema", '{"type":"object"}')


@pytest.mark.parametrize("safe", [True, False])
def test_safe_tokenization_of_a_completion(safe: bool) -> None:
    assert parse_completion(safe_tokenization=safe)[0].safe_tokenization is safe


@pytest.mark.parametrize(
    ("fields", "num_logprobs"),
    [
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 20}, 20),
        ({"logprobs": False}, None),
        ({"logprobs": False, "top_logprobs": 0}, None),
        ({"logprobs": 0}, 0),
        ({"logprobs": 5}, 5),
    ],
)
def test_logprobs(fields: dict[str, Any], num_logprobs: int | None) -> None:
    assert parse_chat(**fields).options.sampling.num_logprobs == num_logprobs


def test_nulls_mean_absent() -> None:
    nulls = dict.fromkeys([*ChatBody.model_fields, "never_heard_of"]) | ASK
    assert parse_chat(**nulls) == parse_chat()


# --- messages ---------------------------------------------------------------------------------------------------------


def test_content_keeps_its_order_and_images_are_numbered_over_the_request() -> None:
    request = parse_chat(
        messages=[
            {"role": "developer", "content": "Be brief."},
            user(text("a"), image("http://x/1", detail="low"), text("b")),
            {"role": "assistant", "content": None},
            user(image("http://x/2"), {"type": "image_url", "image_url": "http://x/3"}),
            user(image("http://x/4", detail="low", max_soft_tokens=560)),
        ]
    )
    assert request.messages == (
        Message("system", ("Be brief.",)),
        Message("user", ("a", ImageRef("http://x/1", 1, "low"), "b")),
        Message("assistant", ("",)),
        Message("user", (ImageRef("http://x/2", 2), ImageRef("http://x/3", 3))),
        Message("user", (ImageRef("http://x/4", 4, 560),)),
    )


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "tool", "content": "4"}, "messages.0.tool_call_id"),
        ({"role": "function", "content": "4", "name": "f"}, "messages.0.tool_call_id"),
        ({"role": "tool", "content": "4", "tool_call_id": "unknown"}, "messages.0.tool_call_id"),
        ({"role": "user", "content": "4", "reasoning_content": "x"}, "messages.0.reasoning_content"),
        ({"role": "user", "content": "4", "name": 4}, "messages.0.name"),
        ({"role": "user", "content": "4", "name": "A" * 257}, "messages.0.name"),
        ({"role": "assistant", "tool_calls": [{"id": "x"}]}, "messages.0.tool_calls.0.function"),
        ({"role": "assistant", "content": "4", "tool_call_id": "x"}, "messages.0.tool_call_id"),
        ({"role": "user", "content": None}, "messages.0.content"),
        ({"role": "system"}, "messages.0.content"),
        ({"role": "user", "content": 4}, "messages.0.content"),
        (user({"type": "video_url", "video_url": "x"}), "messages.0.content.0"),
        (user(text("a"), {"type": "image_url", "image_url": {}}), "messages.0.content.1.image_url.url"),
        (user(image("http://x", detail="medium")), "messages.0.content.0.image_url.detail"),
        (user(image("http://x", max_soft_tokens=0)), "messages.0.content.0.image_url.max_soft_tokens"),
        ({"role": "robot", "content": "4"}, "messages.0.role"),
    ],
)
def test_a_message_that_cannot_be_taken_is_named(message: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"field: '{field}'") as caught:
        parse_chat(messages=[message])
    assert caught.value.param == field


@pytest.mark.parametrize(("name", "expected"), [("Ann", "Ann"), ("", None), (None, None)])
def test_a_name_goes_with_its_message(name: str | None, expected: str | None) -> None:
    (message,) = parse_chat(messages=[{"role": "user", "content": "4", "name": name}]).messages
    assert message.name == expected


# --- completions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "images", "expected"),
    [
        ("a <image>", ["u"], [("a <image>", ["u"])]),
        ("a", None, [("a", [])]),
        ("a <image>", [["u"]], [("a <image>", ["u"])]),
        (["a <image>", "b"], [["u"], []], [("a <image>", ["u"]), ("b", [])]),
        ([1, 2], None, [((1, 2), [])]),
        ([[1], [2, 3]], None, [((1,), []), ((2, 3), [])]),
    ],
)
def test_prompts_and_their_images(prompt: object, images: object, expected: list[tuple[object, list[str]]]) -> None:
    requests = parse_completion(prompt=prompt, images=images)
    assert [(request.prompt, [ref.source for ref in request.image_refs]) for request in requests] == expected


def test_images_are_numbered_over_all_prompts() -> None:
    requests = parse_completion(prompt=["<image>", "<image><image>"], images=[["a"], ["b", "c"]])
    assert [ref.position for request in requests for ref in request.image_refs] == [1, 2, 3]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("chat_template_kwargs", {"note": "a text with spaces"}),
        ("chat_template_kwargs", {"messages": 1}),
        ("safe_tokenization", False),
    ],
)
def test_what_has_no_effect_in_chat_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=f"field: '{field}'"):
        parse_chat(**{field: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"typical_p": 1},
        {"mirostat_target": 0, "mirostat_lr": 0.1},
        {"response_format": {"type": "text"}},
        {"echo": False, "echo_last": 0},
        {"raw_output": False, "return_token_ids": False},
        {"safe_tokenization": True},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"n": 1, "logit_bias": {}, "stop": []},
        {"user": "me", "metadata": {"a": "b"}, "service_tier": "auto", "prompt_cache_key": "k"},
        {"store": False, "metadata": {"a": "b"}, "parallel_tool_calls": True, "service_tier": "auto"},
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h", "safety_identifier": "s"},
        {"modalities": ["text"], "verbosity": "medium"},
        {"messages": [user(text("Hi") | {"cache_control": {"type": "ephemeral", "ttl": "1h"}})]},
    ],
)
def test_values_that_ask_for_nothing_are_accepted(fields: dict[str, Any]) -> None:
    assert parse_chat(**fields) == parse_chat()


def test_a_file_is_a_reference_until_it_is_read() -> None:
    file = {"file_data": "data:application/pdf;base64,QUJD", "filename": "a.pdf", "pages": "1-2"}
    asked = parse_chat(messages=[user(image("https://x/a.png"), {"type": "file", "file": file})])
    assert asked.file_refs == (ImageRef(file["file_data"], 1, file=File("a.pdf", (1, 2))),)
    assert asked.image_refs[1].position == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": 2, "top_logprobs": 2}, "top_logprobs"),
        ({"n": 9}, "n"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"ignore_eos": True, "response_format": {"type": "json_object"}}, "ignore_eos"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"logit_bias": {"500": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"9" * 5000: 1}}, "logit_bias"),
        ({"logit_bias": {"word": 1}}, "logit_bias"),
    ],
)
def test_fields_that_contradict_each_other_or_the_model_are_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"field: '{field}'") as caught:
        parse_chat(**fields)
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": ["a", "b"], "images": ["u"]}, "images"),
        ({"prompt": ["a", "b"], "images": [["u"]]}, "images"),
        ({"prompt": ["a", "b"], "images": [["u"] * 16, ["u"] * 15]}, "images"),
        ({"prompt": ["a"] * 17, "n": 8}, "n"),
        ({"prompt": "a", "echo": True, "logprobs": True}, "logprobs"),
        ({"prompt": "a", "echo_last": 1, "logprobs": True}, "logprobs"),
        ({"service_tier": "priority"}, "service_tier"),
    ],
)
def test_completions_with_impossible_fields_name_the_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"field: '{field}'") as caught:
        parse_completion(**fields)
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("temperature", "1"),
        ("temperature", True),
        ("temperature", float("inf")),
        ("top_p", -0.1),
        ("top_k", 101),
        ("top_k", 1.5),
        ("min_p", 1.1),
        ("typical_p", -0.1),
        ("mirostat_target", 101),
        ("mirostat_lr", 11),
        ("frequency_penalty", 2.1),
        ("presence_penalty", -2.1),
        ("repetition_penalty", 0),
        ("repetition_penalty", 5e-324),
        ("n", 0),
        ("n", 129),
        ("max_tokens", 0),
        ("max_tokens", 2**31),
        ("max_tokens", 10**4000),
        ("seed", 2**63),
        ("stop", ["a"] * 5),
        ("stop", ""),
        ("stop", 5),
        ("logit_bias", {"1": 101}),
        ("logit_bias", {str(i): 1 for i in range(1025)}),
        ("logprobs", 6),
        ("logprobs", "yes"),
        ("top_logprobs", 21),
        ("stream", "true"),
        ("metadata", {"a": 1}),
        ("context_length_exceeded_behavior", "ignore"),
        ("messages", []),
        ("messages", "Hi"),
        ("messages", [{"role": "user", "content": "a"}] * 1025),
        ("model", None),
    ],
)
def test_a_value_out_of_range_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=f"field: '{field}") as caught:
        parse_chat(**{field: value})
    assert caught.value.param is not None


@pytest.mark.parametrize("prompt", [[], [[]], ["a", 1], [1, "a"], [-1], [2**31], [1.5], {}, ["a"] * 129])
def test_a_prompt_of_another_form_is_named(prompt: object) -> None:
    with pytest.raises(InvalidRequest, match="field: 'prompt"):
        parse_completion(prompt=prompt)
