"""Completions on the wire: one prompt or several, echoed or not."""

from __future__ import annotations

from foveal.types import CompletionRequest, Delta, Echo, ImageRef, TokenLogprob
from tests.fakes import FakePipeline
from tests.http.client import complete, events


def _echoing() -> FakePipeline:
    def known(text: str, logprob: float | None) -> TokenLogprob:
        return TokenLogprob(ord(text), text, text.encode(), logprob)

    echo = Echo("Hi", (known("H", None), known("i", -1.5)))
    return FakePipeline(
        (Delta(0, "Hi!", (known("!", -0.5),), token_ids=(33,), echo=echo), Delta(0, finish_reason="stop"))
    )


def test_an_echos_logprobs_stand_before_those_of_the_answer() -> None:
    expected = {
        "tokens": ["H", "i", "!"],
        "token_ids": [72, 105, 33],
        "token_logprobs": [None, -1.5, -0.5],
        "top_logprobs": [None, {}, {}],
        "text_offset": [0, 1, 2],
    }
    whole = complete(_echoing(), echo=True, logprobs=0).json()["choices"][0]
    assert (whole["text"], whole["logprobs"]) == ("Hi!", expected)
    first, *_ = events(complete(_echoing(), echo=True, logprobs=0, stream=True))
    assert first["choices"][0]["logprobs"] == expected


def test_an_echo_alone_has_no_logprobs() -> None:
    assert "logprobs" not in complete(_echoing(), echo=True).json()["choices"][0]


def test_a_whole_answer() -> None:
    response = complete()
    body = response.json()
    assert body["id"] == "cmpl-" + response.headers["x-request-id"]
    assert body["object"] == "text_completion"
    assert body["choices"] == [{"index": 0, "text": "Hello", "finish_reason": "stop"}]
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 4, "image_tokens": 9, "text_tokens": 3}


def test_a_stream() -> None:
    *chunks, done = events(complete(stream=True))
    assert [chunk["choices"] for chunk in chunks] == [
        [{"index": 0, "text": "Hel", "finish_reason": None}],
        [{"index": 0, "text": "lo", "finish_reason": None}],
        [{"index": 0, "text": "", "finish_reason": "stop"}],
    ]
    assert chunks[-1]["usage"]["total_tokens"] == 14
    assert done == "[DONE]"


def test_several_prompts_give_several_choices_and_one_usage() -> None:
    pipeline = FakePipeline((Delta(0, "A", finish_reason="stop"), Delta(1, "B", finish_reason="stop")))
    body = complete(pipeline, prompt=["x <image>", "y"], images=[["data:,"], []], n=2).json()
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [(0, "A"), (1, "B"), (2, "A"), (3, "B")]
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (24, 4)
    assert [request.image_refs for request in pipeline.requests] == [(ImageRef("data:,", 1),), ()]


def test_several_prompts_are_streamed_with_their_indices() -> None:
    *chunks, _ = events(complete(prompt=["x", "y"], stream=True))
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 0, 0, 1, 1, 1]
    assert ["usage" in chunk for chunk in chunks] == [False] * 5 + [True]


def test_one_bad_prompt_among_several_leaves_nothing_running() -> None:
    pipeline = FakePipeline([ValueError()])
    assert complete(pipeline, prompt=["x", "y"]).status_code == 500
    assert pipeline.num_running == 0


def test_token_ids_are_a_prompt() -> None:
    pipeline = FakePipeline()
    complete(pipeline, prompt=[1, 2, 3])
    assert isinstance(pipeline.requests[0], CompletionRequest)
    assert pipeline.requests[0].prompt == (1, 2, 3)


def test_token_ids_of_each_choice_and_its_prompt() -> None:
    script = (Delta(0, "A", token_ids=(5, 6)), Delta(0, finish_reason="stop", token_ids=(2,)))
    body = complete(FakePipeline(script), prompt=["x", "y"], return_token_ids=True).json()
    found = [(choice["prompt_token_ids"], choice["token_ids"]) for choice in body["choices"]]
    assert found == [([1, 2, 3], [5, 6, 2])] * 2


def test_token_ids_of_a_stream_come_with_their_pieces_and_the_prompts_with_the_first() -> None:
    script = (Delta(0, "", token_ids=(5,)), Delta(0, "A", finish_reason="stop", token_ids=(2,)))
    *chunks, _ = events(complete(FakePipeline(script), stream=True, return_token_ids=True))
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice.get("token_ids") for choice in choices] == [[5], [2], None]
    assert [choice.get("prompt_token_ids") for choice in choices] == [[1, 2, 3], None, None]


def test_logprobs_in_the_older_format() -> None:
    token = TokenLogprob(7, "é", "é".encode(), -0.5, (TokenLogprob(8, "e", b"e", float("-inf")),))
    script = (Delta(0, "éé", (token, token), "stop"),)
    assert complete(FakePipeline(script), logprobs=1).json()["choices"][0]["logprobs"] == {
        "tokens": ["é", "é"],
        "token_ids": [7, 7],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"e": -9999.0}, {"e": -9999.0}],
        "text_offset": [0, 1],
    }
