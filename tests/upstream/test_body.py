"""What another server is sent, in each dialect; and what is refused because no field of it could say so."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from foveal.config import HttpConfig
from foveal.errors import InvalidRequest
from foveal.http.dialects.openai.parse import chat_request
from foveal.http.dialects.openai.schemas import ChatBody
from foveal.types import (
    ChatRequest,
    CompletionRequest,
    GenerationOptions,
    Grammar,
    ImageRef,
    Message,
    Reasoning,
    SamplingParams,
    Tool,
    ToolCall,
    ToolChoice,
)
from foveal.upstream.body import chat_body, completion_body
from foveal.upstream.check import check
from tests.fakes import CARD
from tests.media.builders import png

if TYPE_CHECKING:
    from foveal.upstream.known import Dialect

DIALECTS: tuple[Dialect, ...] = ("openai", "vllm", "llama-server", "transformers")
GO_ON = CompletionRequest("Once upon")
HELLO = ChatRequest((Message("user", ("Hi",)),))
LOOK = Tool("look", "Looks.", '{"type": "object", "properties": {"at": {"type": "integer"}}}')
WAIT = Tool("wait")


def sent(request: ChatRequest, dialect: Dialect = "openai", salt: bytes = b"") -> dict[str, Any]:
    check(request, dialect)
    body: dict[str, Any] = msgspec.json.decode(chat_body(request, "theirs", dialect, salt))
    return body


def with_sampling(**settings: Any) -> ChatRequest:
    return replace(HELLO, options=GenerationOptions(SamplingParams(**settings)))


def with_options(**settings: Any) -> ChatRequest:
    return replace(HELLO, options=GenerationOptions(**settings))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_with_its_usage_is_asked_for_in_the_other_name(dialect: Dialect) -> None:
    body = sent(HELLO, dialect)
    assert (body["model"], body["stream"], body["stream_options"]["include_usage"]) == ("theirs", True, True)
    assert body["messages"] == [{"role": "user", "content": "Hi"}]


def test_to_a_server_of_openais_nothing_is_sent_that_its_reference_does_not_have() -> None:
    request = replace(
        with_options(stop=("x",), num_choices=2, grammar=Grammar("json_schema", '{"type":"object"}')),
        tools=(LOOK,),
        tool_choice=ToolChoice("required", ("look",), parallel=False),
        reasoning=Reasoning(effort="low"),
    )

    body = sent(request)

    assert body == {
        "model": "theirs",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 2048,
        "temperature": 1.0,
        "top_p": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "seed": 0,
        "n": 2,
        "stop": ["x"],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look",
                    "description": "Looks.",
                    "parameters": {"type": "object", "properties": {"at": {"type": "integer"}}},
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    }


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_image_goes_on_as_bytes(dialect: Dialect) -> None:
    picture = png()
    request = ChatRequest((Message("user", (ImageRef(picture, 1, "low"), "What?")),))

    (image, text) = sent(request, dialect)["messages"][0]["content"]

    url = image["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    assert base64.b64decode(url.partition(",")[2], validate=True) == picture
    assert image["image_url"]["detail"] == "low"
    assert text == {"type": "text", "text": "What?"}


def test_a_conversation_with_a_call_is_what_this_servers_own_reader_reads() -> None:
    """The wire format has two ends here, and the reader was tested with the clients of others."""
    messages = (
        Message("system", ("Be brief.",)),
        Message("user", ("One", "Two")),
        Message("assistant", (), tool_calls=(ToolCall("a", "look", '{"at": 1}'),), reasoning="Hm."),
        Message("tool", ("seen",), tool_call_id="a"),
    )
    request = ChatRequest(messages, tools=(LOOK,))

    body = sent(request, "llama-server")

    mine = ChatBody.model_validate({name: body[name] for name in ("model", "messages", "tools")})
    read = chat_request(mine, CARD, HttpConfig(), 0)
    assert (read.messages, read.tools) == (request.messages, request.tools)


def test_reasoning_of_before_goes_only_where_it_is_known() -> None:
    request = ChatRequest((*HELLO.messages, Message("assistant", ("Yes",), reasoning="Hm."), *HELLO.messages))
    assert "reasoning_content" in sent(request, "llama-server")["messages"][1]
    assert "reasoning_content" not in sent(request, "openai")["messages"][1]


@pytest.mark.parametrize(
    ("dialect", "settings", "expected"),
    [
        ("vllm", {}, {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}),
        ("vllm", {"top_k": 5, "min_tokens": 3}, {"top_k": 5, "min_tokens": 3}),
        ("llama-server", {}, {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "timings_per_token": True}),
        ("llama-server", {"mirostat_target": 2.0}, {"mirostat": 2, "mirostat_tau": 2.0, "mirostat_eta": 0.1}),
        ("openai", {"logit_bias": ((7, -1.5),)}, {"logit_bias": {"7": -1.5}}),
        ("openai", {"seed": 2**63 - 1}, {"seed": 2**31 - 1}),
    ],
)
def test_settings_have_the_other_servers_names(
    dialect: Dialect, settings: dict[str, Any], expected: dict[str, object]
) -> None:
    assert expected.items() <= sent(with_sampling(**settings), dialect).items()


def test_a_grammar_has_the_other_servers_field() -> None:
    request = with_options(grammar=Grammar("grammar", 'root ::= "a"'))
    assert sent(request, "llama-server")["grammar"] == 'root ::= "a"'
    assert sent(request, "vllm")["structured_outputs"] == {"grammar": 'root ::= "a"'}


def test_caches_are_kept_apart_where_the_server_can() -> None:
    assert sent(HELLO, "vllm", b"\x01\x02")["cache_salt"] == "0102"
    assert "cache_salt" not in sent(HELLO, "vllm")
    assert sent(with_options(max_cached_tokens=0), "llama-server", b"\x01")["cache_prompt"] is False


def test_a_choice_among_some_tools_shows_those() -> None:
    request = replace(HELLO, tools=(LOOK, WAIT), tool_choice=ToolChoice("auto", ("wait",)))
    body = sent(request)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["wait"]
    assert body["tool_choice"] == "auto"


def test_whether_to_think_is_a_variable_of_the_template() -> None:
    request = replace(HELLO, reasoning=Reasoning(enabled=False), template_options={"depth": 2})
    assert sent(request, "vllm")["chat_template_kwargs"] == {"depth": 2, "enable_thinking": False}


@pytest.mark.parametrize(
    ("request_", "dialect", "field"),
    [
        (with_sampling(top_k=5), "openai", "top_k"),
        (with_sampling(min_tokens=5), "llama-server", "min_tokens"),
        (with_sampling(typical_p=0.5), "vllm", "typical_p"),
        (with_sampling(mirostat_target=2.0), "vllm", "mirostat_target"),
        (replace(HELLO, messages=(Message("user", (ImageRef(png(), 1, 70),)),)), "vllm", "max_soft_tokens"),
        (with_sampling(num_logprobs=2), "transformers", "logprobs"),
        (with_sampling(frequency_penalty=0.5), "transformers", "frequency_penalty"),
        (with_options(num_choices=2), "transformers", "n"),
        (with_options(grammar=Grammar("json_schema", "{}")), "transformers", "response_format"),
        (replace(HELLO, tools=(LOOK,), tool_choice=ToolChoice("required")), "transformers", "tool_choice"),
        (replace(HELLO, tools=(LOOK,), tool_choice=ToolChoice(names=("look",))), "transformers", "tool_choice"),
        (replace(HELLO, tool_choice=ToolChoice(parallel=False)), "transformers", "parallel_tool_calls"),
        (replace(HELLO, reasoning=Reasoning(effort="low")), "transformers", "reasoning_effort"),
        (with_options(return_token_ids=True), "vllm", "return_token_ids"),
        (with_options(raw_output=True), "vllm", "raw_output"),
        (with_options(echo=True), "vllm", "echo"),
        (with_options(max_prompt_tokens=9), "vllm", "prompt_truncate_len"),
        (with_options(max_cached_tokens=0), "openai", "prompt_cache_max_len"),
        (with_options(max_cached_tokens=9), "vllm", "prompt_cache_max_len"),
        (with_options(grammar=Grammar("grammar", "root ::= x")), "openai", "response_format"),
        (replace(HELLO, reasoning=Reasoning(max_tokens=9)), "vllm", "reasoning.max_tokens"),
        (replace(HELLO, reasoning=Reasoning(enabled=True)), "openai", "enable_thinking"),
        (replace(HELLO, template_options={"a": 1}), "openai", "chat_template_kwargs"),
        (replace(GO_ON, image_refs=(ImageRef("data:,", 1),)), "vllm", "images"),
        (replace(GO_ON, safe_tokenization=True), "vllm", "safe_tokenization"),
        (replace(GO_ON, prompt=(1, 2)), "transformers", "prompt"),
        (replace(GO_ON, options=GenerationOptions(SamplingParams(num_logprobs=1))), "vllm", "logprobs"),
        (replace(GO_ON, options=GenerationOptions(grammar=Grammar("json_schema", "{}"))), "vllm", "response_format"),
        (replace(GO_ON, options=GenerationOptions(grammar=Grammar("grammar", "x"))), "openai", "response_format"),
    ],
)
def test_what_no_field_could_say_is_refused_by_name(
    request_: ChatRequest | CompletionRequest, dialect: Dialect, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(request_, dialect)
    assert caught.value.param == field
    assert "does not know" in caught.value.message


def test_logprobs_are_asked_for_with_as_many_alternatives() -> None:
    body = sent(with_sampling(num_logprobs=3))
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)
    assert "logprobs" not in sent(HELLO)


@pytest.mark.parametrize("prompt", ["Once upon", (5, 6, 7)])
def test_a_completion_is_its_prompt_and_the_same_options(prompt: str | tuple[int, ...]) -> None:
    request = CompletionRequest(prompt, options=GenerationOptions(SamplingParams(top_k=4), stop=(".",)))
    check(request, "vllm")
    body: dict[str, Any] = msgspec.json.decode(completion_body(request, "theirs", "vllm", b"\1"))
    assert body["prompt"] == (list(prompt) if isinstance(prompt, tuple) else prompt)
    assert (body["model"], body["stream"], body["top_k"], body["stop"]) == ("theirs", True, 4, ["."])
    assert (body["cache_salt"], "messages" in body) == ("01", False)


def test_a_grammar_holds_for_a_completion_too() -> None:
    request = CompletionRequest("Once", options=GenerationOptions(grammar=Grammar("grammar", "root ::= x")))
    check(request, "llama-server")
    assert msgspec.json.decode(completion_body(request, "theirs", "llama-server"))["grammar"] == "root ::= x"


def test_an_answer_that_the_client_has_begun_is_gone_on_with_where_the_other_server_can() -> None:
    begun = replace(HELLO, messages=(*HELLO.messages, Message("assistant", ("Well",))), continues=True)
    asked = sent(begun, "vllm")
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert sent(begun, "llama-server")["messages"][-1] == {"role": "assistant", "content": "Well"}
    with pytest.raises(InvalidRequest, match="cannot go on"):
        sent(begun, "openai")
