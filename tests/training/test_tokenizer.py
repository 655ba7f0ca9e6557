"""Conversations as tokens: the prompt text, what of it is learned, and where marks end."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from tests.training.conftest import MODEL
from training import marks
from training.conversations import Conversation, Turn
from training.model import IGNORE
from training.scenes import make_scene
from training.start import carried_over
from training.tokenizer import (
    QUOTED_WORDS,
    SPACE,
    SPECIAL_TOKENS,
    load_or_train,
    marked_tokens,
    prompt_tokens,
    train_tokenizer,
    with_bare_words,
)


def test_the_prompt_is_cut_at_the_picture_and_only_answers_are_learned(tokenizer: Tokenizer) -> None:
    scene = make_scene("shapes", 1, 1)
    turns = (
        Turn("describe", "What is this?", "A red circle.", (scene,)),
        Turn("thanks", "Thanks!", "You are welcome."),
    )
    made = prompt_tokens(tokenizer, Conversation("Be brief.", turns), [3])
    expected = (
        "<s><|system|>\nBe brief.<|end|>\n<|user|>\n<|image|><|image|><|image|><s>\nWhat is this?<|end|>\n"
        "<|assistant|>\n"
        "A red circle.<|end|>\n<|user|>\nThanks!<|end|>\n<|assistant|>\nYou are welcome.<|end|>"
    )
    assert tokenizer.decode(made.ids, skip_special_tokens=False) == expected
    assert made.ids == tokenizer.encode(expected, add_special_tokens=False).ids
    learned = [token for token in made.labels if token != IGNORE]
    assert tokenizer.decode(learned, skip_special_tokens=False) == "A red circle.<|end|>You are welcome.<|end|>"
    assert made.positions == list(range(len(made.ids)))


@pytest.mark.parametrize(
    ("pictures", "pictures_first", "expected"),
    [
        (1, False, "<s><|user|>\nWhat is this?<|image|><s>\n<|end|>\n<|assistant|>\n"),
        (2, True, "<s><|user|>\n<|image|><s>\n<|image|><s>\nWhat is this?<|end|>\n<|assistant|>\n"),
    ],
)
def test_each_picture_has_its_own_piece(
    tokenizer: Tokenizer, pictures: int, pictures_first: bool, expected: str
) -> None:
    shown = (make_scene("shapes", 1, 1),) * pictures
    turn = Turn("describe", "What is this?", "A red circle.", shown, pictures_first)
    made = prompt_tokens(tokenizer, Conversation(None, (turn,)), [1] * pictures)
    assert tokenizer.decode(made.ids, skip_special_tokens=False).startswith(expected)


def test_each_fork_goes_on_where_the_shared_part_ends(tokenizer: Tokenizer) -> None:
    scene = make_scene("shapes", 1, 1)
    turns = [
        Turn("describe", "What is this?", "A circle.", (scene,)),
        Turn("count", "How many?", "One."),
    ]
    forked = prompt_tokens(tokenizer, Conversation(None, (turns[0],), (turns[1],)), [3])
    alone = prompt_tokens(tokenizer, Conversation(None, (replace(turns[1], pictures=(scene,)),)), [3])
    second = [number for number, branch in enumerate(forked.branches) if branch != 1]
    assert [forked.ids[number] for number in second] == alone.ids
    assert [forked.positions[number] for number in second] == alone.positions


def test_a_question_may_take_more_positions_than_it_has_tokens(tokenizer: Tokenizer) -> None:
    made = prompt_tokens(tokenizer, Conversation(None, (Turn("jumble", "ab", "No.", spread=10),)), [])
    start = tokenizer.decode(made.ids[:3], skip_special_tokens=False)
    assert start == "<s><|user|>\n"
    assert made.positions[:6] == [0, 1, 2, 3, 13, 14]


def test_special_tokens_have_the_ids_that_the_code_gives_them(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))
    assert tokenizer.decode(tokenizer.encode("naïve 图片 ~").ids) == "naïve 图片 ~"


@pytest.mark.slow
def test_a_run_goes_on_with_the_tokenizer_of_what_it_begins_with(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Or its tokens would mean something else; only a vocabulary of another size is made anew."""
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    kept = load_or_train(tmp_path / "kept/tokenizer.json", MODEL.vocab_size, 2, begun=tmp_path)
    assert kept.to_str() == tokenizer.to_str()
    grown = load_or_train(tmp_path / "grown/tokenizer.json", MODEL.vocab_size + 1, 2, begun=tmp_path)
    assert grown.get_vocab_size() == MODEL.vocab_size + 1


@pytest.mark.slow
def test_mistyped_words_are_not_learned_as_words() -> None:
    """Without their exclusion each of these would have been common enough."""
    vocabulary = train_tokenizer(1024, seed=1, num_conversations=600).get_vocab()
    assert "What" in vocabulary
    assert vocabulary.keys().isdisjoint({"HWat", "WWhat", "Wht", "Whatis"})


def test_what_was_read_is_spelled(tokenizer: Tokenizer) -> None:
    answer = 'It says "what is".'
    ids, _ = marked_tokens(tokenizer, answer)
    assert len(ids) > len(tokenizer.encode(answer).ids)
    assert tokenizer.decode(ids) == answer


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        (
            f"Is the disc{marks.shape(0)} above the star{marks.shape(1)}?",
            {0: "Is the disc", 1: "Is the disc above the star"},
        ),
        (f"{marks.shape(3)}A red circle and {marks.shape(4)}a star.", {3: "", 4: "A red circle and"}),
    ],
)
def test_marks_cut_no_word_and_end_at_the_token_before_them(
    tokenizer: Tokenizer, text: str, ended: dict[int, str]
) -> None:
    ids, found = marked_tokens(tokenizer, text)
    assert ids == tokenizer.encode(marks.unmarked(text)).ids
    assert {marks.shape_of(mark)[1]: tokenizer.decode(ids[:before]) for before, mark in found} == ended


def test_each_letter_that_is_read_has_a_mark() -> None:
    """A number in a sentence begins with the space before it; a word that is a token of its own has one mark."""
    tokenizer = train_tokenizer(MODEL.vocab_size, seed=1, num_conversations=200)
    ids, found = marked_tokens(tokenizer, f'It says "{marks.reading("AB C", 2)}".')
    assert [(tokenizer.decode(ids[:before])[9:], ord(mark) - marks.LETTERS) for before, mark in found] == [
        ("", 2), ("A", 3), ("AB", 4), ("AB ", 4),
    ]  # fmt: skip
    ids, found = marked_tokens(tokenizer, f"The number is {marks.reading('42', 0)}.")
    assert [(tokenizer.decode(ids[:before])[13:], ord(mark) - marks.LETTERS) for before, mark in found] == [
        ("", 0), (" ", 0), (" 4", 1),
    ]  # fmt: skip
    assert ids == tokenizer.encode("The number is 42.").ids
    whole = next(word for word in ("picture", "shape", "text") if f"{SPACE}{word}" in tokenizer.get_vocab())
    assert len(marked_tokens(tokenizer, f"It is {marks.reading(whole, 0)}.")[1]) == 1


def test_each_letter_that_a_question_names_has_a_mark_behind_it(tokenizer: Tokenizer) -> None:
    """Tokens are those that the question has without marks; a word that is one of them has no mark for its letters."""
    question = f'Where is the word "{marks.reading("Zyg", 2)}{marks.word(1)}"?'
    ids, found = marked_tokens(tokenizer, question, is_question=True)
    assert ids == tokenizer.encode(marks.unmarked(question)).ids
    ended = [(tokenizer.decode(ids[:before])[19:], mark) for before, mark in found]
    assert ended == [("Z", chr(marks.LETTERS + 2)), ("Zy", chr(marks.LETTERS + 3)), ("Zyg", marks.word(1))]
    whole = next(word for word in ("picture", "shape", "text") if f"{SPACE}{word}" in tokenizer.get_vocab())
    assert marked_tokens(tokenizer, f"Is {marks.reading(whole, 0)} written?", is_question=True)[1] == []


def test_comparisons_are_asked_late(tokenizer: Tokenizer) -> None:
    """The second of two names is asked for its thing half way up, and how it compares with the other's above."""
    question = f"Is the star{marks.shape(0)} above the square{marks.shape(1)}{marks.compared('under', 1)}?"
    made = prompt_tokens(tokenizer, Conversation(None, (Turn("relation", question, "Yes."),)), [])
    ends = [tokenizer.decode(made.ids[3 : token + 1]) for token, _ in (*made.asked, *made.said)]
    assert ends == ["Is the star", "Is the star above the square", "Is the star above the square"]
    assert [mark for _, mark in made.said] == [marks.compared("under", 1)]


def test_words_of_short_answers_replace_the_rarest_and_begin_as_what_they_are_after_a_space(
    tokenizer: Tokenizer,
) -> None:
    raw = json.loads(tokenizer.to_str())
    rare = [f"{SPACE}rare{number}" for number in range(99)]
    for word in (*(SPACE + word for word in QUOTED_WORDS), *rare, SPACE + "Pigs"):
        raw["model"]["vocab"].setdefault(word, len(raw["model"]["vocab"]))
    old = Tokenizer.from_str(json.dumps(raw))
    new = with_bare_words(old)
    assert new.encode(' "green"}').tokens == [SPACE + '"', "green", '"', "}"]
    assert new.encode("Two.").tokens == ["Two", "."]
    assert new.get_vocab_size() == old.get_vocab_size()
    assert SPACE + "Pigs" in new.get_vocab()
    numbered = torch.arange(old.get_vocab_size())[:, None].float()
    carried = carried_over(numbered, old, new, new.get_vocab_size())
    for word in ("green", "Green", SPACE + "green"):
        assert carried[new.token_to_id(word)] == old.token_to_id(SPACE + "green")
    assert with_bare_words(new).get_vocab() == new.get_vocab()
