"""Questions: every kind can be asked, and answers agree with the scene."""

import random
from dataclasses import replace

import pytest

from tests.training.builders import SCENE, WHITE, box
from training.chart_questions import CHART_QUESTIONS, TOO_SMALL
from training.colours import COLOURS
from training.conversations import (
    about,
    comparing,
    converse,
    without_picture,
)
from training.facts import article, listing
from training.marks import (
    MARK,
    NOTHING,
    compared_once,
    comparison_of,
    is_compared,
    is_shape,
    reading,
    shape,
    shape_of,
    unmarked,
    word,
)
from training.marks import compared as compared_mark
from training.phrases import PHRASES, SYNONYMS
from training.questions import (
    FOLLOWED_UP,
    OF_IT,
    PICTURE_QUESTIONS,
    about_it,
    ask,
    follow_up,
    mistyped,
)
from training.scene import Chart, Scene, Shape, Writing
from training.scenes import SCENES, make_scene
from training.shape_questions import SHAPE_QUESTIONS, describe, holds, place_of
from training.shapes import KINDS

NAMES = {name for kind in KINDS for name in SYNONYMS.get(kind, (kind,))}


def answers(kind: str, scene: Scene = SCENE, tries: int = 60) -> set[str]:
    found = (ask(random.Random(seed), kind, scene) for seed in range(tries))
    return {unmarked(asked[1]).replace("gray", "grey") for asked in found if asked}


def filled(kind: str, slot: str, scene: Scene) -> set[str]:
    """What questions of the kind say there, with its marks."""
    found = (PICTURE_QUESTIONS[kind][1](random.Random(seed), scene) for seed in range(200))
    return {one.fill[slot] for one in found if one}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("describe", {"A red circle and a grey square on a white background."}),
        ("shapes", {"There is a circle and a square."}),
        ("colours", {"The shapes are red and grey."}),
        ("background", {"The background is white."}),
        ("count", {"There are two shapes."}),
        ("where", {"The circle is at the top left.", "The square is at the right."}),
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


@pytest.mark.parametrize("kind", list(PICTURE_QUESTIONS))
@pytest.mark.parametrize("held_out", [False, True])
def test_every_kind_can_be_asked_and_is_answered_in_a_sentence(kind: str, held_out: bool) -> None:
    rng = random.Random(1)
    sorts = ("chart",) if kind in CHART_QUESTIONS else ("photo",) if "photo" in kind else ("shapes", "text", "words")
    asked = [ask(rng, kind, make_scene(sort, 2, index), held_out) for sort in sorts for index in range(25)]
    found = [pair for pair in asked if pair]
    assert len(found) >= 4
    assert all("{" not in question for question, _ in found)
    assert all(answer[0].isalnum() and answer[-1] in '."' for answer in (unmarked(answer) for _, answer in found))


def test_questions_about_writing() -> None:
    sign = replace(SCENE, shapes=(), writings=(Writing("OPEN 24", "red", (255, 0, 0), "", 20, (50, 50)),))
    assert answers("read", sign) == {'It says "OPEN 24".'}
    assert answers("text_colour", sign) == {"The text is red."}
    assert answers("describe", sign) == {'The text "OPEN 24" in red on a white background.'}
    assert answers("number", sign) == set()  # neither a number alone nor none
    assert answers("read", SCENE) == {"There is no text in the picture."}


def test_questions_about_one_of_several_words() -> None:
    signs = [("EXIT", "red", (10, 10)), ("to", "blue", (50, 50)), ("42", "red", (90, 90))]
    scene = replace(SCENE, shapes=(), writings=tuple(Writing(text, ink, WHITE, "", 9, at) for text, ink, at in signs))
    unseen = set(COLOURS) - {"white", "red", "blue"}
    absent = {f"There is no {colour} text in the picture." for colour in unseen}
    assert answers("read_coloured", scene, 600) == {'It says "to".', *absent}  # two are red
    assert answers("read_at", scene) == {'It says "EXIT".', 'It says "to".', 'It says "42".'}
    assert answers("read", scene) == {'It says "EXIT to 42".'}
    assert answers("number", scene) == {"The number is 42."}
    assert answers("text_colour", scene) == {"The text is red and blue."}


def test_one_of_several_words_is_marked_with_its_own_letters() -> None:
    signs = (Writing("not one", "red", WHITE, "", 9, (50, 10)), Writing("two", "blue", WHITE, "", 9, (50, 90)))
    scene = replace(SCENE, shapes=(), writings=signs)
    asked = {ask(random.Random(seed), "read_at", scene) for seed in range(40)}
    expected = {f'It says "{reading("not one", 0)}".', f'It says "{reading("two", 6)}".'}  # six letters before it
    assert {answer for _, answer in filter(None, asked)} == expected
    assert filled("read_at", "place", scene) == {f"at the top{word(0)}", f"at the bottom{word(2)}"}
    assert filled("read_coloured", "ink", scene) >= {f"red{word(0)}", f"blue{word(2)}"}


def test_questions_about_a_word_that_is_named() -> None:
    """In quotes or without. What is not written differs from what is, if only in a letter."""
    signs = (Writing("not one", "red", WHITE, "", 9, (50, 10)), Writing("Two", "blue", WHITE, "", 9, (50, 90)))
    scene = replace(SCENE, shapes=(), writings=signs)
    two = f"{reading('Two', 6)}{word(2)}"  # six letters and two words before it
    for kind, known in (("word_colour", "It is blue."), ("word_place", "It is at the bottom.")):
        assert answers(kind, scene, 200) == {known, "The picture does not say that."}
        assert {name for name in filled(kind, "word", scene) if NOTHING not in name} == {two, f'"{two}"'}
    assert answers("says", scene) == {"Yes, it says that.", "No, it does not say that."}
    found = filled("says", "word", scene)
    assert {two, f"{reading('not', 0)}{word(0)}", f'"{reading("one", 3)}{word(1)}"'} <= found
    absent = {unmarked(name).strip('"').lower() for name in found if NOTHING in name}
    assert not absent & {"not", "one", "two"}
    assert any(len(name) == 3 and sum(a == b for a, b in zip(name, "two", strict=True)) == 2 for name in absent)


def test_questions_about_charts() -> None:
    bars = tuple(Shape("bar", "blue", (0, 0, 255), ((0, 0), (1, 0), (1, 1), (0, 1))) for _ in range(3))
    scene = replace(SCENE, shapes=bars, chart=Chart(("A", "B", "C"), (10, 40, 25), False, True))
    assert answers("tallest", scene) == {"B is the tallest bar."}
    assert answers("shortest", scene) == {"A is the shortest bar."}
    assert answers("value_of", scene) == {"The value of A is 10.", "The value of B is 40.", "The value of C is 25."}
    assert answers("num_bars", scene) == {"There are three bars."}
    assert "Yes, B is taller than C." in answers("is_taller", scene)
    assert "No, A is shorter than C." in answers("is_taller", scene)


def test_questions_about_the_sort_of_picture() -> None:
    """A chart and writing are drawn as well, so nobody is told that they are no drawings."""
    photo = "This looks like a photograph, and I only know drawings, words and charts."
    sign = replace(SCENE, shapes=(), writings=(Writing("OPEN 24", "red", (255, 0, 0), "", 20, (50, 50)),))
    chart = replace(SCENE, chart=Chart(("A", "B"), (10, 40), False, True))
    answered = (
        (SCENE, "This is a drawing.", {"Yes, this is a drawing.", "No, this is a drawing."}),
        (sign, "This is printed text.", {"No, this is printed text."}),
        (chart, "This is a bar chart.", {"Yes, this is a bar chart.", "No, this is a bar chart."}),
        (replace(SCENE, photo_colours=("green",)), photo, {f"Yes, t{photo[1:]}", f"No, t{photo[1:]}"}),
    )
    for scene, which, yes_and_no in answered:
        assert (answers("which_sort", scene), answers("is_sort", scene)) == ({which}, yes_and_no)
    for seed in range(40):
        question, answer = ask(random.Random(seed), "is_sort", SCENE, held_out=True) or ("", "")
        assert answer.startswith("Yes") == any(word in question for word in ("drawing", "illustration", "graphic"))


def test_a_chart_whose_writing_is_too_small_is_told_as_far_as_it_can_be_seen() -> None:
    bars = tuple(Shape("bar", "blue", (0, 0, 255), ((0, 0), (1, 0), (1, 1), (0, 1))) for _ in range(3))
    chart = Chart(("A", "B", "C"), (10, 40, 25), False, True, is_legible=False)
    scene = replace(SCENE, shapes=bars, chart=chart)
    assert answers("num_bars", scene) == {"There are three bars."}
    unread = "Its name is too small for me to read."
    assert answers("tallest", scene) == {f"The second bar from the left is the tallest. {unread}"}
    assert answers("shortest", replace(scene, chart=replace(chart, is_horizontal=True))) == {
        f"The first bar from the top is the shortest. {unread}"
    }
    assert answers("describe_chart", scene) == {
        "A bar chart with three bars. The second bar from the left is the tallest."
    }
    for kind in ("value_of", "values", "with_value", "labels", "is_taller", "chart_title"):
        assert answers(kind, scene) == {TOO_SMALL}


def test_a_mistyped_name_keeps_its_mark_and_what_the_picture_says_its_letters() -> None:
    marked = f"Where is the square{shape(0)}?"
    assert all(mistyped(random.Random(seed), marked).endswith(f"{shape(0)}?") for seed in range(50))
    read = f"Does it say {reading('square', 0)}?"
    assert all(mistyped(random.Random(seed), read).endswith(f" {reading('square', 0)}?") for seed in range(50))


@pytest.mark.parametrize(
    ("kind", "slot", "seen"),
    [("is_colour", "guess", {"grey", "red"}), ("is_shape", "a_guess", {"a square", "a circle"})],
)
def test_half_of_the_wrong_guesses_are_what_another_shape_is(kind: str, slot: str, seen: set[str]) -> None:
    found = [one for seed in range(400) if (one := SHAPE_QUESTIONS[kind][1](random.Random(seed), SCENE))]
    wrong = [unmarked(one.fill[slot]) for one in found if one.answer.startswith("No")]
    assert 0.4 <= sum(guess in seen for guess in wrong) / len(wrong) <= 0.7


@pytest.mark.parametrize("kind", ["is_colour", "is_shape"])
def test_whether_a_guess_is_right_is_marked_behind_what_comes_last_of_it_and_what_it_is_about(kind: str) -> None:
    for seed in range(200):
        asked = ask(random.Random(seed), kind, SCENE)
        assert asked
        marked = MARK.findall(asked[0])
        assert [is_compared(mark) for mark in marked] in ([True], [False, True])
        assert comparison_of(marked[-1]) == ("guess", int(asked[1].startswith("Yes")))


def test_a_comparison_is_marked_once_where_it_comes_last() -> None:
    beside, wrong, right = compared_mark("beside", 1), compared_mark("guess", 0), compared_mark("guess", 1)
    assert compared_once(f"Is red{right}{beside} the colour of the star{shape(0)}{wrong}?") == (
        f"Is red{beside} the colour of the star{shape(0)}{wrong}?"
    )


def test_it_is_asked_about_in_the_words_of_what_has_a_name() -> None:
    asked = PHRASES["where_of_it"].trained
    assert {"Where is {name}?", "Locate {name}.", "On what side do you see {name}?"} <= set(asked)
    assert "What do you call {name}?" in PHRASES["shape_of_it"].trained
    assert all("the {name}" not in phrase for kind in OF_IT.values() for phrase in PHRASES[kind].trained)


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


@pytest.mark.parametrize(
    ("kind", "shown"), [("colour_of_shape", ("square", "circle")), ("shape_of_colour", ("grey", "red"))]
)
def test_what_is_shown_is_never_said_to_be_missing(kind: str, shown: tuple[str, ...]) -> None:
    missing = {answer for answer in answers(kind, tries=2000) if answer.startswith("There is no")}
    assert missing
    assert not [answer for answer in missing if any(name in answer.split() for name in shown)]


def test_what_is_at_a_place_or_largest_is_marked_where_the_question_says_so() -> None:
    large, small = box("heart", "blue", 30, 30, side=40), box("star", "pink", 5, 85, side=10)
    scene = replace(SCENE, shapes=(*SCENE.shapes, large, small))
    assert {f"at the right{shape(0)}", f"on the top left{shape(1)}", f"in the top{NOTHING}"} <= filled(
        "at_place", "place", scene
    )
    assert filled("extreme", "size", scene) == {
        *(f"{word}{shape(2)}" for word in ("largest", "biggest")),
        *(f"{word}{shape(3)}" for word in ("smallest", "littlest")),
    }


def test_the_form_of_a_question_does_not_give_its_answer_away() -> None:
    """Asked for a kind, a colour or both, yes and no are about as frequent."""
    forms: dict[str, list[bool]] = {"both": [], "kind": [], "colour": []}
    for seed in range(600):
        name = SHAPE_QUESTIONS["exists"][1](random.Random(seed), SCENE)
        assert name
        words = unmarked(name.fill["a_name"]).split()[1:]
        form = "colour" if words[-1] == "shape" else "kind" if len(words) == 1 else "both"
        forms[form].append(name.answer.startswith("Yes"))
    assert all(0.4 < sum(yes) / len(yes) < 0.6 for yes in forms.values())


def test_relations_are_opposites() -> None:
    square, circle = SCENE.shapes
    assert holds(SCENE, circle, "left of", square)
    assert holds(SCENE, circle, "above", square)
    assert holds(SCENE, square, "right of", circle)
    assert not holds(SCENE, square, "above", circle)
    assert place_of(SCENE, circle) == "at the top left"


def test_how_two_named_shapes_compare_is_marked_as_the_answer_says() -> None:
    """Behind the second name, seen from the first: left or right, above or below; the bits of `relation`'s truth."""
    square, circle = SCENE.shapes
    for seed in range(40):
        found = SHAPE_QUESTIONS["relation"][1](random.Random(seed), SCENE)
        assert found
        compared = dict(comparison_of(mark) for mark in MARK.findall(found.fill["other"])[1:])
        second = circle if found.fill["other"].startswith("circle") else square
        assert compared == {"beside": int(second is square), "under": int(second is square)}


def test_a_place_is_certain_only_where_the_end_of_the_picture_can_be_seen() -> None:
    wide = replace(SCENE, width=300)  # the model sees it in the middle of a white square
    circle = box("circle", "red", 140, 5)
    assert place_of(wide, circle) is None
    assert place_of(replace(wide, background="black"), circle) == "at the top"
    assert place_of(wide, box("circle", "red", 10, 40)) == "at the left"


def test_training_varies_words_that_a_question_does_not_hang_on() -> None:
    asked = {pair for seed in range(400) if (pair := ask(random.Random(seed), "colour_of_shape", SCENE))}
    assert len(asked) > 250
    named = [any(kind in question.lower() for kind in NAMES) for question, _ in asked]
    assert sum(named) > 0.9 * len(named)  # the others are mistyped


@pytest.mark.parametrize("kind", [kind for kind in SCENES if kind != "page"])
def test_conversations_are_reproducible_and_show_each_picture_once(kind: str) -> None:
    first, second = (converse(random.Random(8), kind) for _ in range(2))
    assert first == second
    assert 1 <= len(first.pictures) <= 3
    assert not any(fork.pictures for fork in first.forks)


def test_forks_continue_the_same_pictures() -> None:
    scenes = tuple(make_scene("plain", 4, index) for index in range(3))
    assert about(random.Random(2), scenes[0], 5).pictures == [scenes[0]]
    assert comparing(random.Random(2), scenes, 3).pictures == list(scenes)
    assert all(not turn.pictures for turn in without_picture(random.Random(8)).turns)


@pytest.mark.parametrize("kind", FOLLOWED_UP)
def test_a_question_can_be_asked_again_by_naming_something_else(kind: str) -> None:
    """The answers are those that the whole question has."""
    scene = SCENE if kind not in CHART_QUESTIONS else make_scene("chart", 1, 1)
    for seed in range(60):
        found = PICTURE_QUESTIONS[kind][1](random.Random(seed), scene)
        words = follow_up(random.Random(seed), kind, scene, held_out=True)
        if not found or not words:
            assert (found, words) == (None, None)
            continue
        named = next(name for slot, name in found.fill.items() if slot in ("name", "names", "label"))
        assert named.lower() in words[0].lower().replace("gray", "grey")
        assert words[1].replace("gray", "grey") == found.answer


@pytest.mark.parametrize("kind", ["exists", "at_place", "is_colour", "where"])
def test_the_shape_that_was_spoken_of_can_be_called_it(kind: str) -> None:
    """By what it was called in the question or in the answer; not where that was two shapes or none."""
    expected = {
        "square": {"The square is grey.", "The grey shape is a square.", "The square is at the right."},
        "circle": {"The circle is red.", "The red shape is a circle.", "The circle is at the top left."},
    }
    found = set[str]()
    for seed in range(300):
        before = ask(random.Random(seed), kind, SCENE)
        asked = before and about_it(random.Random(-seed - 1), SCENE, before)
        if before and asked:
            assert not any(f"the {name}" in asked[0] for name in expected)
            _, meant = shape_of(next(filter(is_shape, MARK.findall("".join(before)))))
            answer = unmarked(asked[1]).replace("gray", "grey")
            assert answer in expected[SCENE.shapes[meant].kind]
            found.add(answer)
    assert found >= expected["circle"]


def test_what_is_called_it_must_be_one_shape() -> None:
    for kind in ("relation", "count", "unknown"):
        before = next(filter(None, (ask(random.Random(seed), kind, SCENE) for seed in range(40))))
        assert about_it(random.Random(1), SCENE, before) is None


def test_a_follow_up_comes_after_the_question_that_it_leans_on() -> None:
    talks = [about(random.Random(seed), SCENE, 14) for seed in range(400)]
    for kind in ("follow_up", "of_it"):
        followed = [talk for talk in talks if any(turn.kind == kind for turn in (*talk.turns, *talk.forks))]
        assert 10 < len(followed) < 60
        assert all(talk.turns[1].kind == kind for talk in followed)
    followed = [talk for talk in talks if talk.turns[1:] and talk.turns[1].kind == "follow_up"]
    assert {talk.turns[0].kind for talk in followed} == {"colour_of_shape", "where", "count_of"}


def test_words() -> None:
    assert listing(["one"]) == "one"
    assert listing("abc") == "a, b and c"
    assert article("oval") == "an oval"
    assert article("star") == "a star"
    empty = Scene(10, 10, "blue", ((0, 0, 255), (0, 0, 255)), False, ())
    assert describe(empty) == "A plain blue picture."
