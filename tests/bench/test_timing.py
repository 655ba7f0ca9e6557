"""Times are exact where the clock is given."""

from __future__ import annotations

import json

import pytest

from foveal.bench import timing
from foveal.bench.records import Answer, Request
from foveal.bench.wire import Read
from tests.bench.builders import sample


def event(payload: object) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def text(content: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]})


FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
USAGE = event(
    {
        "choices": [],
        "usage": {"prompt_tokens": 90, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 64}},
    }
)
DONE = b"data: [DONE]\n\n"


def answered(*reads: tuple[float, bytes], start_s: float = 10.0, sent_s: float = 10.0, ended_s: float = 20.0) -> Answer:
    return timing.answer_of(Request(0, 1, 0), start_s, sent_s, ended_s, [Read(*read) for read in reads], 200)


def test_the_first_token_is_the_first_chunk_with_text() -> None:
    opening = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
    answer = answered((11.0, opening), (12.5, text("A ")), (13.0, text("dog")), (13.5, FINISH + DONE))
    assert timing.ttft_s(answer.sample) == 2.5
    assert timing.gaps_s(answer.sample) == [0.5]
    assert (answer.text, answer.sample.finish_reason, answer.sample.error) == ("A dog", "stop", None)


def test_waiting_counts_from_the_planned_start() -> None:
    answer = answered((12.0, text("A")), (12.0, FINISH), start_s=9.0, sent_s=10.0, ended_s=12.5)
    assert (timing.ttft_s(answer.sample), timing.lag_s(answer.sample), timing.e2e_s(answer.sample)) == (3.0, 1.0, 3.5)


def test_an_event_has_the_time_of_the_read_that_completed_it() -> None:
    whole = text("A") + text("B")
    answer = answered((11.0, whole[:30]), (12.0, whole[30:-1]), (13.0, whole[-1:] + FINISH))
    assert answer.sample.chunks_s == (12.0, 12.0)


def test_tokens_are_counted_by_usage_where_it_is_given() -> None:
    reads = (12.0, text("A")), (14.0, text("B")), (16.0, FINISH + USAGE + DONE)
    told, untold = answered(*reads).sample, answered(*reads[:2], (16.0, FINISH + DONE)).sample
    assert (timing.num_tokens(told), timing.num_tokens(untold)) == (5, 2)
    assert (told.prompt_tokens, told.cached_tokens) == (90, 64)
    assert timing.tpot_s(told) == 1.0  # 4 s, in which four tokens came after the first
    assert timing.tpot_s(untold) == 4.0


def test_reasoning_is_text_but_no_part_of_the_answer() -> None:
    thought = event({"choices": [{"delta": {"reasoning_content": "Hm. "}}]})
    answer = answered((11.0, thought), (12.0, text("A")), (12.0, FINISH))
    assert timing.ttft_s(answer.sample) == 1.0
    assert answer.text == "A"


def test_an_answer_without_text_has_no_first_token() -> None:
    answer = answered((11.0, FINISH + USAGE + DONE))
    assert answer.sample.error is None
    assert timing.ttft_s(answer.sample) is None
    assert timing.tpot_s(answer.sample) is None


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (b"", "the stream ended without a finish_reason"),
        (event({"error": {"message": "out of memory", "type": "x"}}), "in the stream: out of memory"),
        (b"data: {oops\n\n", "in the stream: an event that is no chat completion: {oops"),
    ],
    ids=["cut", "told", "unreadable"],
)
def test_a_stream_that_fails_is_an_error(last: bytes, error: str) -> None:
    assert answered((11.0, text("A")), (12.0, last)).sample.error == error


def test_comments_other_fields_and_carriage_returns_are_no_events() -> None:
    stream = b": keep-alive\r\n\r\nevent: message\r\nid: 7\r\n" + text("A").replace(b"\n", b"\r\n") + FINISH
    assert answered((11.0, stream)).text == "A"


def test_what_comes_after_the_end_is_not_read() -> None:
    assert answered((11.0, text("A") + FINISH + DONE + text("B"))).text == "A"


def test_the_longest_gap_is_of_one_answer() -> None:
    assert timing.longest_gap_s(sample(gap_s=0.25, num_chunks=3)) == 0.25
    assert timing.longest_gap_s(sample(num_chunks=1)) is None
