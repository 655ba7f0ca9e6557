"""Texts that surely do not fit: found without tokenising more than what would fit."""

from __future__ import annotations

import pytest

from foveal.conversation.config import load_conversation
from foveal.conversation.lengths import CHARS_PER_TOKEN, PIECE_CHARS, surely_exceeds
from foveal.conversation.render import Renderer
from foveal.conversation.tokenizer import Run
from foveal.errors import PromptTooLong
from foveal.types import CompletionRequest
from tests.conversation.builders import KINDS, chat, processor, tokenizer

LIMIT = 1000
LONG = "the shape of things " * 40_000


class Counted:
    """A token a character, and how much was asked for."""

    def __init__(self) -> None:
        self.num_chars = 0

    def __call__(self, piece: str) -> int:
        self.num_chars += len(piece)
        return len(piece)


@pytest.mark.parametrize("texts", [["x" * 10_000_000], ["x" * 100_000] * 100, [""] * 1000 + ["x" * 10_000_000]])
def test_the_work_is_bounded_by_the_limit_and_not_by_the_text(texts: list[str]) -> None:
    count = Counted()
    assert surely_exceeds(texts, LIMIT, count)
    assert count.num_chars <= LIMIT + 2 * PIECE_CHARS


def test_a_text_that_may_fit_is_not_counted() -> None:
    count = Counted()
    assert not surely_exceeds(["x" * CHARS_PER_TOKEN * LIMIT], LIMIT, count)
    assert count.num_chars == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["the shape", "a" * 31, " ", "ab c\n", "é日本😀", "<|end|>x"])
def test_it_never_says_so_of_a_text_that_fits(kind: str, text: str) -> None:
    """Against the whole text's tokens, at the very limit and far below."""
    subject, whole = tokenizer(kind), text * (2 * PIECE_CHARS // len(text) + 1)
    num_tokens = len(subject.encode([Run(whole, is_markup=True)]))
    for limit in (num_tokens, num_tokens // 2, 10):
        found = surely_exceeds([whole], limit, lambda piece: len(subject.encode([Run(piece, is_markup=True)])))
        assert not found or num_tokens > limit


@pytest.mark.parametrize(
    "request_",
    [chat(("user", LONG)), chat(("user", LONG), ("assistant", LONG), ("user", LONG)), CompletionRequest(LONG)],
)
def test_a_prompt_that_surely_is_too_long_is_refused_before_it_is_rendered(request_: CompletionRequest) -> None:
    subject = Renderer(load_conversation("phi3_v"), tokenizer(), processor())
    assert subject.must_be_counted(request_, LIMIT)
    with pytest.raises(PromptTooLong, match=f"^The prompt is too long: {LIMIT + 1} or more, model maximum .* {LIMIT}$"):
        subject.check_length(request_, LIMIT)


def test_token_ids_that_do_not_fit_are_refused_by_their_number() -> None:
    subject = Renderer(load_conversation("phi3_v"), tokenizer(), processor())
    with pytest.raises(PromptTooLong, match="too long: 1001, model maximum context length: 1000"):
        subject.check(CompletionRequest((5,) * (LIMIT + 1)), LIMIT)


def test_the_pieces_cover_the_text() -> None:
    pieces: list[str] = []

    def count(piece: str) -> int:
        pieces.append(piece)
        return 0

    text = "".join(map(chr, range(40_000)))
    surely_exceeds([text], 2, count)
    assert "".join(pieces) == text


def test_many_short_texts_that_do_not_fit_are_found_as_well() -> None:
    """Together they count as one text: none of them alone has as many tokens as a cut may save."""
    assert surely_exceeds(["x" * 50] * 100_000, LIMIT, len)
