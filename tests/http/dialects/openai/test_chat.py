"""Chat completions on the wire: whole answers and streams, as clients read them."""

from __future__ import annotations

from foveal.errors import GenerationFailed, ImageError, Overloaded
from foveal.types import Delta, TokenLogprob
from tests.fakes import FakePipeline
from tests.http.client import chat, error, events

USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 2,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4, "image_tokens": 9, "text_tokens": 3},
}
PERF_METRICS = {
    "prompt-tokens": 12,
    "cached-prompt-tokens": 4,
    "server-time-to-first-token": 0.125,
    "server-processing-time": 0.25,
}
YES = TokenLogprob(7, "Yes", b"Yes", -0.5, (TokenLogprob(7, "Yes", b"Yes", -0.5), TokenLogprob(8, "No", b"No", -1.5)))


def test_a_whole_answer() -> None:
    response = chat()
    body = response.json()
    assert response.status_code == 200
    assert body.pop("id") == "chatcmpl-" + response.headers["x-request-id"]
    assert body.pop("created") > 1_700_000_000
    assert body == {
        "object": "chat.completion",
        "model": "foveal-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }


def test_headers_carry_the_metrics() -> None:
    headers = chat().headers
    assert headers["content-type"] == "application/json"
    assert headers["fireworks-prompt-tokens"] == "12"
    assert headers["fireworks-cached-prompt-tokens"] == "4"
    assert headers["fireworks-server-time-to-first-token"] == "0.125"
    assert headers["fireworks-server-processing-time"] == "0.25"


def test_perf_metrics_come_when_asked_for() -> None:
    assert chat(perf_metrics_in_response=True).json()["perf_metrics"] == PERF_METRICS


def test_choices_are_told_apart_by_index() -> None:
    script = (Delta(1, "B"), Delta(0, "A"), Delta(1, "b", finish_reason="length"), Delta(0, finish_reason="stop"))
    choices = chat(FakePipeline(script), n=2).json()["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in choices] == [
        (0, "A", "stop"),
        (1, "Bb", "length"),
    ]


def test_a_stream() -> None:
    response = chat(stream=True)
    *chunks, done = events(response)
    assert response.headers["content-type"] == "text/event-stream"
    assert [chunk["choices"] for chunk in chunks] == [
        [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "lo"}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    ]
    assert [chunk.get("usage") for chunk in chunks] == [None, None, None, USAGE]
    assert chunks[-1]["perf_metrics"] == PERF_METRICS
    assert {(chunk["id"], chunk["object"]) for chunk in chunks} == {
        ("chatcmpl-" + response.headers["x-request-id"], "chat.completion.chunk")
    }
    assert done == "[DONE]"


def test_the_headers_of_a_stream_know_the_first_token() -> None:
    headers = chat(stream=True).headers
    assert headers["fireworks-prompt-tokens"] == "12"
    assert headers["fireworks-server-time-to-first-token"] == "0.125"


def test_usage_that_is_asked_for_comes_once_in_an_event_without_choices() -> None:
    *chunks, last, done = events(chat(stream=True, stream_options={"include_usage": True}))
    assert (last["choices"], last["usage"], done) == ([], USAGE, "[DONE]")
    assert not any("usage" in chunk for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["perf_metrics"] == PERF_METRICS


def test_include_usage_false_means_the_default() -> None:
    *_, last, _ = events(chat(stream=True, stream_options={"include_usage": False}))
    assert (last["choices"][0]["finish_reason"], last["usage"]) == ("stop", USAGE)


def test_a_stream_of_two_choices_gives_usage_once_with_the_last_end() -> None:
    script = (Delta(1, "B"), Delta(1, finish_reason="stop"), Delta(0, "A"), Delta(0, "a", finish_reason="length"))
    *chunks, _ = events(chat(FakePipeline(script), n=2, stream=True))
    told = [(chunk["choices"][0]["index"], chunk["choices"][0]["delta"], "usage" in chunk) for chunk in chunks]
    assert told == [
        (1, {"role": "assistant", "content": ""}, False),
        (1, {"content": "B"}, False),
        (1, {}, False),
        (0, {"role": "assistant", "content": ""}, False),
        (0, {"content": "A"}, False),
        (0, {"content": "a"}, False),
        (0, {}, True),
    ]


def test_logprobs_in_openais_format() -> None:
    choice = chat(FakePipeline((Delta(0, "Yes", (YES,), "stop"),)), logprobs=True, top_logprobs=2).json()["choices"][0]
    top = [
        {"token": "Yes", "token_id": 7, "logprob": -0.5, "bytes": [89, 101, 115]},
        {"token": "No", "token_id": 8, "logprob": -1.5, "bytes": [78, 111]},
    ]
    assert choice["logprobs"] == {"content": [top[0] | {"text_offset": 0, "top_logprobs": top}]}


def test_logprobs_of_a_stream_count_their_offsets_on() -> None:
    script = (Delta(0, "Yes", (YES,)), Delta(0, "Yes", (YES,), "stop"))
    *chunks, _ = events(chat(FakePipeline(script), logprobs=1, stream=True))
    logprobs = [chunk["choices"][0].get("logprobs") for chunk in chunks]
    assert [found and found["text_offset"] for found in logprobs] == [None, [0], [3], None]


def test_token_ids_of_the_prompt_and_of_the_answer_with_those_that_are_not_shown() -> None:
    script = (Delta(0, "A", token_ids=(5, 6)), Delta(0, finish_reason="stop", token_ids=(2,)))
    body = chat(FakePipeline(script), return_token_ids=True).json()
    assert (body["prompt_token_ids"], body["choices"][0]["token_ids"]) == ([1, 2, 3], [5, 6, 2])


def test_token_ids_of_a_stream_begin_with_the_prompts() -> None:
    script = (Delta(0, "A", token_ids=(5, 6)), Delta(0, finish_reason="stop", token_ids=(2,)))
    *chunks, _ = events(chat(FakePipeline(script), stream=True, return_token_ids=True))
    assert [chunk.get("prompt_token_ids") for chunk in chunks] == [[1, 2, 3], None, None, None]
    assert [chunk["choices"][0].get("token_ids") for chunk in chunks] == [None, [5, 6], [2], None]


def test_raw_output_is_what_the_model_saw_and_said() -> None:
    script = (Delta(0, "Yes", (YES,), token_ids=(7,)), Delta(0, finish_reason="stop", token_ids=(2,)))
    raw = {
        "prompt_fragments": [1, "Hi"],
        "prompt_token_ids": [1, 2, 3],
        "completion": "<7><2>",
        "completion_token_ids": [7, 2],
    }
    whole = chat(FakePipeline(script), raw_output=True, logprobs=1).json()["choices"][0]["raw_output"]
    *chunks, _ = events(chat(FakePipeline(script), raw_output=True, stream=True))
    streamed = [chunk["choices"][0].get("raw_output") for chunk in chunks]
    assert [entry["token_id"] for entry in whole.pop("completion_logprobs")["content"]] == [7]
    assert whole == raw
    assert streamed[:-1] == [None, None]
    assert streamed[-1].pop("completion_logprobs")["content"]
    assert streamed[-1] == raw


def test_warnings_are_a_header() -> None:
    for stream in (False, True):
        headers = chat(FakePipeline(warnings=("Images first.",)), stream=stream).headers
        assert headers["x-foveal-warning"] == "Images first."
    assert "x-foveal-warning" not in chat().headers


def test_a_refusal_before_the_first_byte_is_an_ordinary_error() -> None:
    for stream in (False, True):
        response = chat(FakePipeline(refusal=ImageError(2, "it is no picture")), stream=stream)
        assert response.status_code == 400
        assert error(response) == {
            "object": "error",
            "type": "invalid_request_error",
            "code": "invalid_request_error",
            "message": "image 2: it is no picture",
            "param": "images",
        }


def test_a_failure_before_the_first_token_is_an_ordinary_error_of_a_stream_too() -> None:
    response = chat(FakePipeline([GenerationFailed("The engine gave up.")]), stream=True)
    assert (response.status_code, error(response)["message"]) == (500, "The engine gave up.")


def test_a_failure_after_the_first_byte_is_the_last_event() -> None:
    pipeline = FakePipeline([Delta(0, "Hel"), GenerationFailed("The engine gave up.")])
    response = chat(pipeline, stream=True)
    assert response.status_code == 200
    assert events(response)[-1]["error"]["message"] == "The engine gave up."
    assert pipeline.num_running == 0


def test_our_own_bug_is_told_as_a_fixed_sentence() -> None:
    bug = RuntimeError("secret path /root")
    whole = chat(FakePipeline([bug]))
    streamed = chat(FakePipeline([Delta(0, "Hel"), bug]), stream=True)
    assert whole.status_code == 500
    assert whole.headers["x-request-id"]
    assert error(whole)["message"] == events(streamed)[-1]["error"]["message"]
    assert "secret" not in whole.text + streamed.text


def test_an_answer_without_an_end_is_an_error() -> None:
    assert chat(FakePipeline([Delta(0, "Hel")])).status_code == 500
    assert "error" in events(chat(FakePipeline([Delta(0, "Hel")]), stream=True))[-1]


def test_overload_says_when_to_come_back() -> None:
    response = chat(FakePipeline(refusal=Overloaded("Too many requests wait.")))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_a_model_that_is_loading_is_not_asked() -> None:
    pipeline = FakePipeline(is_ready=False)
    assert chat(pipeline).status_code == 503
    assert pipeline.requests == []


def test_another_model_is_not_found() -> None:
    response = chat(model="gpt-4o")
    assert response.status_code == 404
    assert error(response) == {
        "object": "error",
        "type": "error",
        "code": "NOT_FOUND",
        "message": "Model not found, inaccessible, and/or not deployed",
        "param": "model",
    }


def test_the_model_is_named_as_the_client_named_it() -> None:
    assert chat(model="accounts/me/models/eyes").json()["model"] == "accounts/me/models/eyes"
