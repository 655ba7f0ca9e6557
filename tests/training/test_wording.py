"""The words of questions, whatever the picture: how they vary, and that held-out phrasings stay out of the training."""

import random
import re

from training.comparisons import COMPARISONS
from training.conversations import CHAT_ANSWERS, NOT_UNDERSTOOD, chat_turn
from training.facts import Found
from training.phrases import PHRASES, PLAIN, WORDS
from training.questions import FOREIGN_WORDS, any_fill, mistyped, phrase


def test_mistyped_words_are_near_those_meant_and_what_a_picture_says_stays_whole() -> None:
    typed = {mistyped(random.Random(seed), "How many circles are in chart Xq7 Zurich?") for seed in range(300)}
    assert {
        "How many circlse are in chart Xq7 Zurich?",
        "How many circlesare in chart Xq7 Zurich?",
        "How many ircles are in chart Xq7 Zurich?",
        "How maany circles are in chart Xq7 Zurich?",
    } <= typed
    assert all(question.endswith(" Xq7 Zurich?") for question in typed)
    assert {"Where is teh star?", "Where is the satr?"} <= {
        mistyped(random.Random(seed), "Where is the star?") for seed in range(100)
    }
    assert mistyped(random.Random(1), "Is it so?") == "Is it so?"


def test_foreign_words_mean_nothing_in_a_question() -> None:
    assert len(FOREIGN_WORDS) > 500
    assert not {"left", "red", "circle", "two", "no", "largest", "picture", "bar"} & set(FOREIGN_WORDS)


def test_some_questions_to_train_on_have_up_to_three_words_that_mean_nothing() -> None:
    fill = {"name": "circle", "other": "square", "relation": "above"}
    asked = [phrase(random.Random(seed), "relation", Found(fill, "Yes."))[0] for seed in range(500)]
    foreign = [len(set(re.findall("[a-z]+", question.lower())) & set(FOREIGN_WORDS)) for question in asked]
    assert 60 < sum(count > 0 for count in foreign) < 200
    assert max(foreign) == 3


def test_held_out_phrasings_are_not_trained() -> None:
    assert all(not set(phrases.trained) & set(phrases.held_out) for phrases in PHRASES.values())
    assert all(PHRASES[kind].held_out for kind in (*CHAT_ANSWERS, *COMPARISONS) if kind in PHRASES)


def test_every_phrasing_can_be_filled() -> None:
    words = any_fill(random.Random(1)) | {slot: options[0] for slot, options in WORDS.items()} | {"colour": "colour"}
    others = [phrases for kind, phrases in PHRASES.items() if kind not in PLAIN["kinds"]]  # those: test_plainly.py
    assert all(text.format(**words) for phrases in others for text in phrases.trained + phrases.held_out)


def test_jumbles_are_short_or_some_hundred_or_seldom_some_thousand_characters_long() -> None:
    found = [turn for seed in range(800) if (turn := chat_turn(random.Random(seed))).kind == "jumble"]
    lengths = sorted(len(turn.question) for turn in found)
    assert lengths[len(lengths) // 3] < 60
    assert 300 < lengths[len(lengths) * 9 // 10] < 450
    assert 3000 < lengths[-1] < 4100
    assert {turn.answer for turn in found} == {NOT_UNDERSTOOD}
