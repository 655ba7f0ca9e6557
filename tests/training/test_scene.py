"""Scenes: the same from the same seed, and what they say is true of their pixels."""

import numpy as np
import pytest

from training.scene import COLOURS, KINDS, SCENES, Scene, cover, draw, make_scene

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
