"""Questions about two pictures: answers agree with both, and pairs are made as the training wants them."""

import random
from dataclasses import replace

import pytest

from tests.training.builders import SCENE
from training.comparisons import COMPARISONS
from training.conversations import QUESTIONS, a_pair, comparing
from training.marks import COMPARED, MARK, comparison_of, is_compared, unmarked
from training.questions import compare
from training.scene import Scene
from training.scenes import make_scene


def compared(kind: str, *scenes: Scene) -> set[str]:
    found = (compare(random.Random(seed), kind, scenes) for seed in range(40))
    return {unmarked(asked[1]).replace("gray", "grey") for asked in found if asked}


def test_questions_about_two_pictures() -> None:
    square, circle = SCENE.shapes
    without = replace(SCENE, shapes=(circle,))
    blue = replace(SCENE, shapes=(square, replace(circle, colour="blue")))
    assert compared("difference", SCENE, without) == {"Only the first picture has a grey square."}
    assert compared("difference", SCENE, blue) == {"The circle is red in the first picture and blue in the second."}
    assert compared("difference", SCENE, SCENE) == {"Nothing is different. The pictures are the same."}
    assert compared("are_same", SCENE, blue) == {"No, the pictures are different."}
    assert compared("are_different", SCENE, blue) == {"Yes, the pictures are different."}
    assert compared("are_different", SCENE, SCENE) == {"No, the pictures are the same."}
    assert compared("more_of", SCENE, without) >= {"The first picture has more squares."}
    assert "The second picture shows a blue circle." in compared("picture_with", SCENE, blue)


@pytest.mark.parametrize("kind", ["difference", "missing"])
def test_what_only_one_of_two_pictures_has_is_told_whichever_is_asked_about(kind: str) -> None:
    without = replace(SCENE, shapes=SCENE.shapes[1:])
    assert compared(kind, SCENE, without) == {"Only the first picture has a grey square."}
    assert compared(kind, without, SCENE) == {"Only the second picture has a grey square."}
    assert compared(kind, SCENE, SCENE) == {"Nothing is different. The pictures are the same."}


def test_nothing_is_missing_where_one_thing_has_two_colours() -> None:
    other_colour = replace(SCENE, shapes=(SCENE.shapes[0], replace(SCENE.shapes[1], colour="blue")))
    assert compared("missing", SCENE, other_colour) == set()


def compared_marks(kind: str, *scenes: Scene) -> set[tuple[str, str]]:
    """What is marked to compare the pictures, as (name, answer)."""
    found = (COMPARISONS[kind][1](random.Random(seed), scenes) for seed in range(40))
    texts = (text for one in found if one for text in (*one.fill.values(), one.answer))
    told = [comparison_of(mark) for text in texts for mark in MARK.findall(text) if is_compared(mark)]
    return {(name, COMPARED[name][how]) for name, how in told}


def test_answers_about_two_pictures_know_first_whether_they_differ_and_names_where_there_is_more() -> None:
    without = replace(SCENE, shapes=SCENE.shapes[:1])
    for kind in ("difference", "missing", "are_same", "are_different"):
        assert compared_marks(kind, SCENE, without) == {("differ", "different")}
        assert compared_marks(kind, SCENE, SCENE) == {("differ", "same")}
    assert compared_marks("picture_with", SCENE, without) == {("more", "first")}
    assert compared_marks("picture_with", without, SCENE) == {("more", "second")}


def test_so_many_pairs_are_the_same_picture_twice() -> None:
    rng = random.Random(1)
    for share, least, most in ((0.0, 0, 0.2), (0.35, 0.25, 0.5), (1.0, 1, 1)):
        pairs = [a_pair(rng, make_scene("plain", 5, index), share, 0.35) for index in range(100)]
        assert least <= sum(first == second for first, second in pairs) / len(pairs) <= most


def test_so_many_of_the_pairs_that_differ_lack_a_shape_and_the_fuller_comes_first_as_often_as_second() -> None:
    rng = random.Random(1)
    scenes = [scene for index in range(250) if (scene := make_scene("shapes", 5, index)).shapes]
    pairs = [a_pair(rng, scene, 0.0, 0.5) for scene in scenes]
    more = [len(first.shapes) - len(second.shapes) for first, second in pairs]
    assert 0.4 <= (more.count(1) + more.count(-1)) / len(pairs) <= 0.6
    assert 0.35 <= more.count(1) / (more.count(1) + more.count(-1)) <= 0.65


def test_a_pair_is_asked_for_its_difference_in_several_wordings() -> None:
    rng = random.Random(2)
    talks = [comparing(rng, (SCENE, replace(SCENE, shapes=SCENE.shapes[:1])), QUESTIONS[2]) for _ in range(20)]
    asked = [[turn.question for turn in (*talk.turns, *talk.forks) if turn.kind == "difference"] for talk in talks]
    assert sum(len(set(questions)) >= 2 for questions in asked) >= 10


@pytest.mark.parametrize("kind", COMPARISONS)
def test_every_comparison_can_be_asked(kind: str) -> None:
    rng = random.Random(3)
    pairs = [a_pair(rng, make_scene("plain", 5, index), 0.2, 0.35) for index in range(30)]
    assert sum(compare(rng, kind, pair, held_out=True) is not None for pair in pairs) > 5
