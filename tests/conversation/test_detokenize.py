"""Tokens -> text: the deltas together equal decoding all at once, cut before the first stop string; each is final."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from foveal.conversation.detokenize import Detokenizer
from foveal.conversation.tokenizer import Run
from foveal.types import Delta, FinishReason, Token, TopLogprob
from tests.conversation.builders import KINDS, tokenizer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("continues", [False, True])
def test_the_pieces_together_are_the_whole_decoded(kind: str, continues: bool) -> None:
    chance = random.Random(3)
    for _ in range(200):
        token_ids = [chance.randrange(tokenizer(kind).vocab_size + 2) for _ in range(chance.randrange(1, 30))]
        deltas = _push(token_ids, kind=kind, continues=continues)
        assert _text(deltas) == tokenizer(kind).decode(token_ids, continues=continues)
        assert deltas[-1].finish_reason == "length"


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_ends_before_the_first_stop_string_to_be_complete(kind: str) -> None:
    chance = random.Random(5)
    for _ in range(300):
        text = "".join(chance.choices("ab n🙂", k=chance.randrange(1, 25)))
        stop = ["".join(chance.choices("ab n🙂", k=chance.randrange(1, 5))) for _ in range(chance.randrange(1, 4))]
        deltas = _push(_encode(text, kind), stop, kind=kind, continues=True)
        whole = tokenizer(kind).decode(_encode(text, kind), continues=True)
        assert (_text(deltas), deltas[-1].finish_reason, deltas[-1].stop) == _cut(whole, stop), (text, stop)


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("iEND", ["END"], ["i", "", "", ""]),
        ("iENx", ["END"], ["i", "", "", "ENx"]),
        ("EENDx", ["END"], ["", "E", "", ""]),
        ("aaab", ["aab"], ["", "", "a", ""]),
        ("EN", ["END"], ["", "EN"]),
        ("abcd", ["bc", "abcd"], ["", "", "a"]),
        ("xabc", ["c", "abc"], ["x", "", "", ""]),
    ],
)
def test_text_that_may_become_a_stop_string_is_held_back(
    text: str, stop: Sequence[str], expected: Sequence[str]
) -> None:
    assert [delta.text for delta in _push([_id(character) for character in text], stop)] == expected


def test_a_character_is_returned_with_its_last_byte() -> None:
    deltas = _push([_id("ð"), _id("Ł"), _id("Ļ"), _id("Ĥ")])
    assert [delta.text for delta in deltas] == ["", "", "", "🙂"]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(["ð", "Ł", "ÿ"], "\ufffd\ufffd"), (["ð", "a"], "\ufffda"), (["ÿ", "ÿ"], "\ufffd\ufffd")],
)
def test_bytes_that_are_no_character_become_a_mark(tokens: Sequence[str], expected: str) -> None:
    assert _text(_push([_id(token) for token in tokens])) == expected


@pytest.mark.parametrize("finish_reason", ["length", "stop"])
def test_an_answer_that_is_cut_inside_a_character_ends_before_it(finish_reason: FinishReason) -> None:
    subject = [_id("a"), _id("ð"), _id("Ł"), _id("Ļ")]
    assert _text(_push(subject, finish_reason=finish_reason)) == "a"
    assert tokenizer().decode(subject) == "a"


def test_special_tokens_are_not_shown() -> None:
    assert _text(_push([*_encode("a"), _id("<|user|>"), *_encode("b"), _id("<|user|>!")])) == "ab<|user|>!"


def test_the_token_that_stops_the_engine_is_not_shown_even_if_it_is_an_ordinary_one() -> None:
    deltas = _push([*_encode("a"), *_encode("b")], finish_reason="stop")
    assert (_text(deltas), deltas[-1].finish_reason) == ("a", "stop")


def test_logprobs_come_with_the_text_of_their_tokens() -> None:
    subject = Detokenizer(tokenizer(), ["END"], index=2)
    token = Token(_id("a"), logprob=-0.5, top_logprobs=(TopLogprob(_id("a"), -0.5), TopLogprob(_id("ð"), -2.0)))
    delta = subject.push(token)
    assert delta.index == 2
    assert [(entry.text, entry.bytes, entry.logprob) for entry in delta.logprobs] == [("a", b"a", -0.5)]
    assert [(entry.text, entry.bytes) for entry in delta.logprobs[0].top] == [("a", b"a"), ("\ufffd", b"\xf0")]


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [("aENb", ["END"], ["a", "", "", "ENb"]), ("aENDb", ["END"], ["a", "", "", ""]), ("ab", [], ["a", "b"])],
)
def test_logprobs_of_held_tokens_are_held_and_those_of_a_stop_string_dropped(
    text: str, stop: Sequence[str], expected: Sequence[str]
) -> None:
    deltas = _push([_id(character) for character in text], stop, logprob=-1.0)
    assert ["".join(entry.text for entry in delta.logprobs) for delta in deltas] == expected


def test_a_generated_special_token_has_its_logprob_and_no_bytes_in_the_text() -> None:
    deltas = _push([_id("a"), _id("<|user|>"), _id("b")], logprob=-1.0)
    entries = [entry for delta in deltas for entry in delta.logprobs]
    assert [(entry.text, entry.bytes) for entry in entries] == [("a", b"a"), ("<|user|>", b""), ("b", b"b")]


def _push(
    token_ids: Sequence[int],
    stop: Sequence[str] = (),
    *,
    kind: str = "byte_level",
    continues: bool = False,
    logprob: float | None = None,
    finish_reason: FinishReason = "length",
) -> list[Delta]:
    """What comes of the tokens, the last of which ends the sequence, up to the first finish_reason."""
    subject = Detokenizer(tokenizer(kind), stop, continues=continues)
    deltas: list[Delta] = []
    for left, token_id in zip(range(len(token_ids) - 1, -1, -1), token_ids, strict=True):
        deltas.append(subject.push(Token(token_id, None if left else finish_reason, logprob)))
        if deltas[-1].finish_reason:
            break
    return deltas


def _cut(text: str, stop: Sequence[str]) -> tuple[str, FinishReason, str | None]:
    """The definition: read character by character, and stop at the first that completes a stop string."""
    for end in range(1, len(text) + 1):
        if found := [entry for entry in stop if text[:end].endswith(entry)]:
            longest = max(found, key=len)
            return text[: end - len(longest)], "stop", longest
    return text, "length", None


def _text(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def _encode(text: str, kind: str = "byte_level") -> list[int]:
    return tokenizer(kind).encode([Run(text, is_markup=False)])


def _id(token: str) -> int:
    found = tokenizer().token_id(token)
    assert found is not None
    return found
