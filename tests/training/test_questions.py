"""Questions: every kind can be asked, answers agree with the scene, held-out phrasings stay out of the training."""

import random

import pytest

from training.phrases import PHRASES
from training.questions import (
    CHAT_ANSWERS,
    PICTURE_QUESTIONS,
    article,
    ask,
    describe,
    holds,
    listing,
    place_of,
    with_pictures,
    without_picture,
)  # fmt: skip
from training.scene import Scene, Shape, make_scene


def box(kind: str, colour: str, left: float, top: float, side: float = 20) -> Shape:
    corners = ((left, top), (left + side, top), (left + side, top + side), (left, top + side))
    return Shape(kind, colour, (255, 0, 0), corners, 0)


WHITE = (255, 255, 255)
SCENE = Scene(100, 100, "white", (WHITE, WHITE), False, (box("square", "grey", 75, 40), box("circle", "red", 5, 5)))


def answers(kind: str, scene: Scene = SCENE, tries: int = 60) -> set[str]:
    found = (ask(random.Random(seed), kind, scene) for seed in range(tries))
    return {asked[1].replace("gray", "grey") for asked in found if asked}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("describe", {"A red circle and a grey square on a white background."}),
        ("shapes", {"There is a circle and a square."}),
        ("colours", {"The shapes are red and grey."}),
        ("background", {"The background is white."}),
        ("count", {"There are two shapes."}),
        ("where", {"The circle is at the top left.", "The square is on the right."}),
        ("is_colour", None),
        ("unknown", {"I do not know. The picture does not show that."}),
    ],
)
def test_answers(kind: str, expected: set[str] | None) -> None:
    if expected is None:
        assert answers(kind) <= {
            f"{word}, the {thing}." for word in ("Yes", "No") for thing in ("circle is red", "square is grey")
        }
    else:
        assert answers(kind) == expected


@pytest.mark.parametrize("kind", PICTURE_QUESTIONS)
@pytest.mark.parametrize("held_out", [False, True])
def test_every_kind_can_be_asked_and_is_answered_in_a_sentence(kind: str, held_out: bool) -> None:
    rng = random.Random(1)
    asked = [ask(rng, kind, make_scene("shapes", 2, index), held_out) for index in range(80)]
    found = [pair for pair in asked if pair]
    assert len(found) > 10
    assert all("{" not in question and answer[0].isupper() and answer[-1] == "." for question, answer in found)


def test_spelling_is_answered_in_kind() -> None:
    pairs = [asked for seed in range(300) if (asked := ask(random.Random(seed), "colour_of_shape", SCENE))]
    greys = [(question, answer) for question, answer in pairs if "grey" in answer or "gray" in answer]
    assert {"gray" in answer for _, answer in greys} == {True, False}
    assert all(("color" in question.lower()) == ("gray" in answer) for question, answer in greys)


def test_yes_and_no_are_told_apart() -> None:
    truths = {"red": "circle", "grey": "square"}
    for answer in answers("exists", tries=300):
        told = [colour for colour in truths if colour in answer]
        shapes = [kind for kind in truths.values() if kind in answer]
        if answer.startswith("Yes"):
            assert told or shapes
            assert not (told and shapes) or truths[told[0]] == shapes[0]


def test_relations_are_opposites() -> None:
    square, circle = SCENE.shapes
    assert holds(SCENE, circle, "left of", square)
    assert holds(SCENE, circle, "above", square)
    assert holds(SCENE, square, "right of", circle)
    assert not holds(SCENE, square, "above", circle)
    assert place_of(SCENE, circle) == "at the top left"


def test_held_out_phrasings_are_not_trained() -> None:
    assert all(not set(phrases.trained) & set(phrases.held_out) for phrases in PHRASES.values())
    assert all(PHRASES[kind].held_out for kind in (*PICTURE_QUESTIONS, *CHAT_ANSWERS))


def test_conversations_show_each_picture_once_and_are_reproducible() -> None:
    scenes = [make_scene("shapes", 4, index) for index in range(2)]
    first, second = (with_pictures(random.Random(8), scenes) for _ in range(2))
    assert first == second
    assert [turn.picture for turn in first.turns if turn.picture] == scenes
    assert all(turn.picture is None for turn in without_picture(random.Random(8)).turns)


def test_words() -> None:
    assert listing(["one"]) == "one"
    assert listing("abc") == "a, b and c"
    assert article("oval") == "an oval"
    assert article("star") == "a star"
    empty = Scene(10, 10, "blue", ((0, 0, 255), (0, 0, 255)), False, ())
    assert describe(empty) == "A plain blue picture."
