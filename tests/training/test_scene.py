"""Scenes: the same from the same seed, and what they say is true of their pixels."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from training.colours import COLOURS, contrasts
from training.photos import main_colours
from training.scene import Scene, cover, draw, letter_cover
from training.scenes import SCENES, make_scene
from training.second import draw_again
from training.shapes import KINDS
from training.writing import CHARACTERS, MIN_EM, fonts, ink, outside, words

PLAIN = [
    scene
    for scene in (make_scene("shapes", 7, index) for index in range(150))
    if scene.jpeg_quality == scene.noise == scene.blur == 0 and scene.gradient[0] == scene.gradient[1]
]


@pytest.mark.parametrize("kind", SCENES)
def test_the_same_seed_draws_the_same_picture(kind: str) -> None:
    first, second = make_scene(kind, 5, 11), make_scene(kind, 5, 11)
    assert first == second
    assert draw(first).tobytes() == draw(second).tobytes()
    assert make_scene(kind, 5, 12) != first
    assert make_scene(kind, 6, 11) != first


def test_every_kind_and_colour_is_drawn() -> None:
    shapes = [shape for index in range(400) for shape in make_scene("shapes", 3, index).shapes]
    assert {shape.kind for shape in shapes} == set(KINDS)
    assert {shape.colour for shape in shapes} == set(COLOURS)


@pytest.mark.parametrize("scene", PLAIN[:60], ids=lambda scene: f"{scene.width}x{scene.height}")
def test_facts_are_true_of_the_pixels(scene: Scene) -> None:
    pixels, owners = np.asarray(draw(scene)), cover(scene)
    assert pixels.shape == (scene.height, scene.width, 3)
    background = pixels[owners == 0]
    assert np.median(background, 0).tolist() == list(scene.gradient[0])
    for number, shape in enumerate(scene.shapes, 1):
        inside = pixels[owners == number]
        matches = (inside == shape.rgb).all(1).mean()
        assert matches > (0.05 if shape.line_width else 0.75)


def test_shapes_lie_apart_and_inside() -> None:
    for index in range(200):
        scene = make_scene("shapes", 9, index)
        areas = [(cover(scene) == number).sum() for number in range(1, len(scene.shapes) + 1)]
        for shape, area in zip(scene.shapes, areas, strict=True):
            left, top, right, bottom = shape.box
            assert left >= 0
            assert top >= 0
            assert right <= scene.width
            assert bottom <= scene.height
            assert shape.colour != scene.background
            assert area == pytest.approx(shape.area, rel=0.35, abs=40)


@pytest.mark.parametrize("kind", ["page", "text", "words", "labelled", "chart"])
def test_letters_lie_on_their_ink(kind: str) -> None:
    """What is written differs from a picture without it only near the boxes that letter_cover gives."""
    for index in range(12):
        scene = replace(make_scene(kind, 2, index), blur=0, noise=0, jpeg_quality=0, supersampling=1)
        without = np.asarray(draw(replace(scene, writings=()))).astype(int)
        inked = (np.abs(np.asarray(draw(scene)).astype(int) - without).sum(-1) > 40) & (cover(scene) == 0)
        boxes, letters = letter_cover(scene)
        assert "".join(letter for letter, _ in letters) == "".join(scene.text.split())
        near = np.asarray(Image.fromarray((boxes > 0).astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(5))) > 0
        assert (inked & ~near).sum() <= 0.02 * inked.sum()


def test_grounds_of_writing_may_be_crowded_but_never_hide_it() -> None:
    scenes = [make_scene("text", 1, index) for index in range(300)]
    crowded = [scene for scene in scenes if len(scene.lines) >= 15]
    assert 10 < len(crowded) < 60
    assert all(contrasts(scene.writings[0].rgb, *(line.rgb for line in scene.lines)) for scene in crowded)


def test_several_words_stand_apart_in_colours_of_their_own() -> None:
    scenes = [make_scene("words", 8, index) for index in range(60)]
    assert {2, 4, 6} <= {len(scene.writings) for scene in scenes}
    assert all(len(writing.text.split()) == 1 for scene in scenes for writing in scene.writings)
    assert sum(len(scene.ink_colours) > 1 for scene in scenes) > 50
    for scene in scenes:
        for one, another in combinations([writing.box() for writing in scene.writings], 2):
            assert one[2] <= another[0] or another[2] <= one[0] or one[3] <= another[1] or another[3] <= one[1]


@pytest.mark.parametrize("kind", ["text", "words"])
def test_writing_is_large_enough_to_read(kind: str) -> None:
    for index in range(60):
        scene = make_scene(kind, 8, index)
        for writing in scene.writings:
            assert writing.size >= MIN_EM * max(scene.width, scene.height)
            assert not outside(writing.box(), scene)


def test_charts_say_what_their_bars_show() -> None:
    for index in range(60):
        scene = make_scene("chart", 8, index)
        chart = scene.chart
        assert chart
        lengths = [bar.box[2] - bar.box[0] if chart.is_horizontal else bar.box[3] - bar.box[1] for bar in scene.shapes]
        assert lengths == pytest.approx([value * lengths[0] / chart.values[0] for value in chart.values])
        assert len(set(chart.labels)) == len(chart.labels) == len(chart.values)


def test_numbers_along_the_axis_stand_where_bars_of_that_value_would_end() -> None:
    scenes = [make_scene("chart", 8, index) for index in range(60)]
    with_ticks = [(scene, scene.chart) for scene in scenes if scene.chart and scene.chart.ticks]
    assert {chart.is_horizontal for _, chart in with_ticks} == {True, False}
    for scene, chart in with_ticks:
        left, top, right, bottom = scene.shapes[0].box
        assert len(chart.ticks) >= 3
        for tick, writing in zip(chart.ticks, scene.writings[-len(chart.ticks) :], strict=True):
            assert writing.text == str(tick)
            share = tick / chart.values[0]
            across = 0 if chart.is_horizontal else 1
            expected = left + share * (right - left) if chart.is_horizontal else bottom - share * (bottom - top)
            assert writing.centre[across] == pytest.approx(expected, abs=1)
            assert not outside(writing.box(), scene)


def test_some_charts_to_train_on_cannot_be_read_and_none_of_those_that_are_held_out() -> None:
    for held_out, least, most in ((False, 10, 30), (True, 0, 0)):
        scenes = [make_scene("chart", 10, index, held_out) for index in range(120)]
        small = [scene for scene in scenes if scene.chart and not scene.chart.is_legible]
        assert least <= len(small) <= most
        for scene in scenes:
            assert (scene.writings[0].size < 0.04 * max(scene.width, scene.height)) == (scene in small)


@pytest.mark.parametrize("held_out", [True, False])
def test_nothing_that_a_chart_says_lies_over_anything_else(held_out: bool) -> None:
    for index in range(60):
        scene = make_scene("chart", 9, index, held_out)
        boxes = [writing.box() for writing in scene.writings]
        for number, (left, top, right, bottom) in enumerate(boxes):
            for other_left, other_top, other_right, other_bottom in boxes[:number]:
                across = min(right, other_right) - max(left, other_left)
                down = min(bottom, other_bottom) - max(top, other_top)
                assert across <= 2 or down <= 2, (index, scene.writings[number].text)


def test_a_machine_without_fonts_writes_with_those_of_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts.cache_clear()
    monkeypatch.setattr("training.writing.FONT_FOLDERS", ())
    try:
        assert fonts()
        assert all(min(ink(character, font)) > 0 for font in fonts() for character in CHARACTERS)
        assert make_scene("text", 1, 1).writings
    finally:
        fonts.cache_clear()


def test_what_is_held_out_is_not_trained_on() -> None:
    assert not set(fonts()) & set(fonts(held_out=True)) or len(fonts()) < 30  # a machine with matplotlib's fonts alone
    assert not set(words()) & set(words(held_out=True))


def test_a_photograph_is_named_after_its_pixels() -> None:
    assert main_colours(Image.new("RGB", (10, 10), (0, 120, 0))) == ("green",)
    halves = Image.new("RGB", (48, 48), (250, 250, 250))
    halves.paste((200, 30, 30), (0, 0, 20, 48))
    assert main_colours(halves) == ("white", "red")


@pytest.mark.parametrize("kind", ["plain", "many", "labelled", "photo"])
def test_the_second_library_draws_the_same_things(kind: str) -> None:
    for index in range(8):
        scene = replace(make_scene(kind, 4, index), noise=0, jpeg_quality=0, blur=0)
        first, second = (np.asarray(image).astype(int) for image in (draw(scene), draw_again(scene)))
        assert (np.abs(first - second).sum(-1) < 60).mean() > 0.93
