"""What the tower is asked about each patch, on scenes whose answers can be seen by eye."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training import marks
from training.charts import chart_scene
from training.looks import changes, places_of, second_looks
from training.model import IGNORE, ModelConfig
from training.scene import Chart, Scene, Shape, Writing, draw
from training.shape_questions import PLACES
from training.targets import (
    CHOICES,
    MEASURES,
    NAME_CHOICES,
    PATCH_COLOURS,
    PATCH_KINDS,
    ROLES,
    SIZES,
    SceneTargets,
    name_targets,
    scene_targets,
    together,
)
from training.writing import CHARACTERS, fonts

CONFIG = ModelConfig(
    crop_size=112, vision_width=8, vision_layers=1, vision_heads=1, vision_mlp=8, width=8, layers=1, heads=1, mlp=8,
    vocab_size=300, num_crops=1,
)  # fmt: skip
WHITE = ((255, 255, 255), (255, 255, 255))


def square(left: float, top: float, side: float, colour: str = "red", kind: str = "square") -> Shape:
    points = ((left, top), (left + side, top), (left + side, top + side), (left, top + side))
    return Shape(kind, colour, (255, 0, 0), points)


def scene(*shapes: Shape, writings: tuple[Writing, ...] = (), chart: Chart | None = None) -> Scene:
    return Scene(112, 112, "white", WHITE, False, shapes, writings, chart=chart)


def seen(of: Scene) -> SceneTargets:
    return scene_targets(of, draw(of), CONFIG, 1)


def answers(of: Scene, name: str) -> NDArray[np.int64]:
    """[8, 8]: of a picture of eight patches a side."""
    found: NDArray[np.int64] = seen(of).patches.choices[name][0].reshape(8, 8).numpy()
    return found


BIG, SMALL, BLUE = square(0, 0, 42), square(84, 84, 28), square(0, 84, 28, "blue", "circle")
THREE = scene(BIG, SMALL, BLUE)


@pytest.mark.parametrize(
    ("name", "big", "small", "blue"),
    [
        ("kind", PATCH_KINDS.index("square"), PATCH_KINDS.index("square"), PATCH_KINDS.index("circle")),
        ("same_kind", 2, 2, 1),
        ("same_colour", 2, 2, 1),
        ("count", 3, 3, 3),
        ("member", 1, 2, 0),
        ("where", PLACES.index("at the top left"), PLACES.index("at the bottom right"),
         PLACES.index("at the bottom left")),
        ("letter", IGNORE, IGNORE, IGNORE),
    ],
)  # fmt: skip
def test_a_patch_tells_what_its_shape_is_among_the_others(name: str, big: int, small: int, blue: int) -> None:
    found = answers(THREE, name)
    assert (found[:3, :3] == big).all()
    assert (found[6:, 6:] == small).all()
    assert (found[6:, :2] == blue).all()


def test_the_largest_is_named_where_it_is_clear() -> None:
    assert answers(THREE, "size")[0, 0] == SIZES.index("largest")
    assert answers(THREE, "size")[7, 7] == IGNORE  # two are as small


def test_the_ground_knows_how_many_shapes_there_are_and_nothing_of_places() -> None:
    assert answers(THREE, "count")[3, 6] == 3
    assert answers(THREE, "where")[3, 6] == IGNORE


def test_measures_reach_from_the_patch_to_the_ends_of_its_shape() -> None:
    measures = seen(THREE).patches.measures[0].reshape(8, 8, len(MEASURES))[0, 0] * 112
    left, top, right, bottom, _, x, y = measures.tolist()
    assert (left, top, right, bottom) == pytest.approx((7, 7, 35, 35), abs=1.5)
    assert (x, y) == pytest.approx((21, 21), abs=1.5)


def written(text: str, size: float) -> Scene:
    return scene(writings=(Writing(text, "black", (0, 0, 0), fonts()[0], size, (56.0, 56.0)),))


def read(of: Scene) -> str:
    """What the halves of the patches say, put together by their places."""
    found = seen(of).patches.choices
    spelled = {}
    for side in ("left", "right"):
        for letter, place in zip(found[side][0].tolist(), found[f"{side}_place"][0].tolist(), strict=True):
            if letter > 0:
                spelled[place] = CHARACTERS[letter - 1]
    return "".join(letter for _, letter in sorted(spelled.items()))


@pytest.mark.parametrize(("text", "size"), [("Hi", 60), ("READ", 30), ("12345", 24), ("Foveal", 22)])
def test_half_patches_spell_the_word(text: str, size: float) -> None:
    assert read(written(text, size)) == text


def test_a_letter_knows_its_word_and_how_many_follow() -> None:
    two = written("AB CDE", 24)
    places, rest, member = (answers(two, name) for name in ("place", "rest", "member"))
    assert set(places[places != IGNORE]) == {0, 1, 2}
    assert set(rest[(rest != IGNORE) & (member == 0)]) == {0, 1}
    assert set(rest[(rest != IGNORE) & (member == 1)]) == {0, 1, 2}


def two_bars() -> Scene:
    """A is half as high as B."""
    bars = (square(14, 56, 28, kind="bar"), square(70, 28, 28, kind="bar"))
    chart = Chart(("A", "B"), (30, 60), False, True)
    font = fonts()[0]
    writings = tuple(
        Writing(text, "black", (0, 0, 0), font, 20, centre)
        for text, centre in (("A", (28.0, 102.0)), ("30", (28.0, 46.0)), ("B", (84.0, 102.0)), ("60", (84.0, 18.0)))
    )
    return scene(*bars, writings=writings, chart=chart)


def test_labels_and_values_belong_to_their_bar() -> None:
    drawn = two_bars()
    member, role = answers(drawn, "member"), answers(drawn, "role")
    assert set(member[:, :4][member[:, :4] != IGNORE]) == {0}
    assert set(member[:, 5:][member[:, 5:] != IGNORE]) == {1}
    assert set(role[7][role[7] != IGNORE]) == {ROLES.index("label")}
    rank = answers(drawn, "rank")
    assert set(rank[:, :4][rank[:, :4] != IGNORE]) == {1}  # the lower bar, its label and its value
    assert set(rank[:, 5:][rank[:, 5:] != IGNORE]) == {0}


def test_each_chart_gives_every_letter_a_role() -> None:
    for seed in range(20):
        kinds, role = (answers(chart_scene(random.Random(seed)), name) for name in ("kind", "role"))
        assert ((kinds == PATCH_KINDS.index("letter")) == (role != IGNORE)).all()


def test_answers_are_in_range_whatever_the_picture_is_cut_into() -> None:
    scenes = THREE, written("READ", 30)
    several = together([scene_targets(one, draw(one), CONFIG, 4).patches for one in scenes])
    assert len(several.measures) == 10  # two pictures, each as an overview and four crops
    for name, size in CHOICES.items():
        asked = several.choices[name][several.choices[name] != IGNORE]
        assert asked.numel() == 0 or (int(asked.min()) >= 0 and int(asked.max()) < size)
    assert torch.isfinite(several.measures).all()


# --- what names stand for ---------------------------------------------------------------------------------------------


def known(mark: str, *pictures: Scene) -> dict[str, int]:
    """What a name with the mark is asked, as far as there is an answer."""
    found = name_targets([(0, mark, [seen(one) for one in pictures])], CONFIG.crop_size)
    return {name: int(answer) for name, answer in found.choices.items() if answer != IGNORE}


def test_a_name_knows_what_the_patches_of_its_shape_know() -> None:
    found = known(marks.shape(2), THREE)
    assert found["kind"] == PATCH_KINDS.index("circle")
    assert (found["same_kind"], found["count"], found["member"]) == (1, 3, 0)
    assert found["where"] == PLACES.index("at the bottom left")
    assert known(marks.shape(0, picture=1), scene(), THREE)["same_kind"] == 2


def test_a_name_knows_where_its_shape_lies() -> None:
    found = name_targets([(7, marks.shape(1), [seen(THREE)]), (9, marks.NOTHING, [seen(THREE)])], CONFIG.crop_size)
    assert found.tokens.tolist() == [7, 9]
    assert found.is_placed.tolist() == [True, False]
    left, top, right, bottom, _, x, y = (found.measures[0] * 112).tolist()
    assert (left, top, right, bottom, x, y) == pytest.approx((84, 84, 112, 112, 98, 98), abs=1.5)


def test_what_is_read_knows_its_letters() -> None:
    word = written("READ", 30)
    found = [known(chr(marks.LETTERS + number), word) for number in range(4)]
    assert [CHARACTERS[one["letter"]] for one in found] == list("READ")
    assert [(one["place"], one["rest"]) for one in found] == [(0, 3), (1, 2), (2, 1), (3, 0)]


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        (marks.NOTHING, {"kind": PATCH_KINDS.index("background")}),
        (marks.of_kind(0), {"same_kind": 0}),
        (marks.of_colour(7), {"same_colour": 7}),
        (marks.word(3), {"member": 3}),
        (marks.in_pictures(3, 10), {"in_first": 3, "in_second": 10}),
        (marks.compared("under", 1), {"under": 1}),
        (marks.compared("more", 2), {"more": 2}),
        (marks.compared("differ", 1), {"differ": 1}),
        (marks.compared("guess", 0), {"guess": 0}),
        (marks.CHANGED, {"changed": 1}),
        (marks.UNCHANGED, {"changed": 0}),
    ],
)
def test_names_of_more_or_less_than_one_thing_know_a_number(mark: str, expected: dict[str, int]) -> None:
    assert known(mark, THREE) == expected


@pytest.mark.slow
def test_answers_about_names_are_in_range() -> None:
    for seed in range(20):
        drawn = chart_scene(random.Random(seed))
        letters = sum(len(writing.text.replace(" ", "")) for writing in drawn.writings)
        every = [marks.shape(number) for number in range(len(drawn.shapes))]
        every += [chr(marks.LETTERS + number) for number in range(letters)]
        for mark in every:
            assert all(0 <= answer < NAME_CHOICES[name] for name, answer in known(mark, drawn).items())


def test_what_differs_in_a_second_picture_is_told_apart_from_what_does_not() -> None:
    without = scene(BIG, BLUE)
    found = changes([THREE, without], [seen(THREE), seen(without)])
    assert {place for place, mark in found if mark == marks.CHANGED} == {15}  # the bottom right of 4 x 4
    assert {place for place, mark in found if mark == marks.UNCHANGED} == {0, 1, 4, 5, 12}
    other = Scene(112, 112, "black", WHITE, False, ())
    assert not changes([THREE, other], [seen(THREE), seen(other)])


def test_it_is_asked_about_as_often_what_differs_as_what_does_not() -> None:
    rest = square(56, 0, 56), square(0, 56, 56), square(56, 56, 56)  # three quarters of the picture
    red, green = (scene(square(0, 0, 56, colour), *rest) for colour in ("red", "green"))

    def found(*pictures: Scene) -> list[str]:
        finely = [scene_targets(one, draw(one), replace(CONFIG, crop_size=224), 1) for one in pictures]  # 8 x 8
        return [mark for _, mark in changes(list(pictures), finely)]

    assert found(red, green).count(marks.CHANGED) == found(red, green).count(marks.UNCHANGED) == 16
    assert set(found(red, red)) == {marks.UNCHANGED}
    assert len(found(red, red)) >= 12


def test_a_second_picture_is_asked_what_the_first_one_shows_in_the_same_place() -> None:
    other = scene(square(42, 42, 42, "green", "star"))
    asked = second_looks([seen(THREE), seen(other)])
    shown = {place: known(mark, THREE, other) for place, mark in asked}
    colours = {name: PATCH_COLOURS.index(name) for name in ("red", "blue", "white")}
    assert shown[0] == {"first_kind": PATCH_KINDS.index("square"), "first_colour": colours["red"]}
    assert shown[12] == {"first_kind": PATCH_KINDS.index("circle"), "first_colour": colours["blue"]}
    assert shown[10] == {"first_kind": PATCH_KINDS.index("background"), "first_colour": colours["white"]}


def test_of_what_both_pictures_show_a_second_one_is_asked_only_a_little() -> None:
    without = scene(BIG, BLUE)  # but for the place at the bottom right
    asked = second_looks([seen(THREE), seen(without)])
    places = [place for place, _ in asked]
    assert 15 in places
    assert len(places) <= 6


def test_a_name_is_looked_for_where_its_shape_is_shown() -> None:
    assert places_of(marks.shape(0), [seen(THREE)]) == [(0, place) for place in (0, 1, 4, 5)]  # of 4 x 4
    assert places_of(marks.shape(1), [seen(THREE)]) == [(0, 15)]
    assert places_of(marks.shape(0, picture=1), [seen(scene()), seen(THREE)]) == [(1, place) for place in (0, 1, 4, 5)]
    assert places_of(marks.of_kind(2), [seen(THREE)]) == []


def test_a_shape_of_the_first_of_two_pictures_is_looked_for_in_the_second_too() -> None:
    assert places_of(marks.shape(1), [seen(THREE), seen(scene(BIG, BLUE))]) == [(0, 15), (1, 15)]


def test_a_letter_is_looked_for_where_it_is_written() -> None:
    word = seen(written("READ", 30))
    columns = [{place % 4 for _, place in places_of(chr(marks.LETTERS + number), [word])} for number in range(4)]
    assert all(columns)
    assert [min(its) for its in columns] == sorted(min(its) for its in columns)
    assert columns[0].isdisjoint(columns[3])


def test_a_bar_is_looked_for_at_its_label_and_its_value_too() -> None:
    left, right = (places_of(marks.shape(bar), [seen(two_bars())]) for bar in range(2))
    assert {place % 4 for _, place in left} == {0, 1}
    assert {place % 4 for _, place in right} == {2, 3}
    rows = [{place // 4 for _, place in places} for places in (left, right)]
    assert rows == [{1, 2, 3}, {0, 1, 3}]  # of a value, its bar and its label


def test_one_of_several_words_is_looked_for_at_all_its_letters() -> None:
    word = seen(written("AB CDE", 24))
    first, second = ({place for _, place in places_of(marks.word(number), [word])} for number in range(2))
    letters = [{place for _, place in places_of(chr(marks.LETTERS + number), [word])} for number in range(5)]
    assert (first, second) == (letters[0] | letters[1], letters[2] | letters[3] | letters[4])
    assert places_of(marks.word(2), [word]) == []


def test_a_patch_of_a_photograph_tells_its_own_colour() -> None:
    drawn = replace(scene(square(0, 0, 56)), photo_colours=("white", "red"))  # squares and all, as if a camera saw them
    found = answers(drawn, "colour")
    assert (found[:4, :4] == PATCH_COLOURS.index("red")).all()
    assert (found[4:] == PATCH_COLOURS.index("white")).all()
