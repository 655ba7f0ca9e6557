"""Questions about two or three pictures at once, and scenes that differ in one thing."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from training import marks
from training.colours import COLOURS, contrasts, tint
from training.facts import ORDINALS, Found, article, other, plural
from training.scene import Scene, Shape
from training.shape_questions import a_thing, describe, mark

SAME, DIFFERENT = (marks.compared("differ", how) for how in range(2))
Comparison = Callable[[random.Random, tuple[Scene, ...]], Found | None]


def varied(rng: random.Random, scene: Scene, same_share: float, gone_share: float) -> Scene:
    """The scene itself with probability `same_share`; else without one shape (`gone_share`) or with one recoloured."""
    if not scene.shapes or rng.random() < same_share:
        return scene
    shape = rng.choice(scene.shapes)
    rest = tuple(one for one in scene.shapes if one is not shape)
    if rng.random() < gone_share:
        return replace(scene, shapes=rest)
    colour = other(rng, COLOURS, [shape.colour, scene.background])
    rgb = tint(rng, colour, pure=True)
    if not contrasts(rgb, *scene.gradient, shape.rgb):
        return scene
    return replace(
        scene, shapes=tuple(replace(one, colour=colour, rgb=rgb) if one is shape else one for one in scene.shapes)
    )


def _name(shape: Shape) -> str:
    return f"{shape.colour} {shape.kind}"


def _counted(first: int, second: int) -> str:
    """Marks for how many of the named things each of two pictures shows, and which shows more."""
    more = 2 if first == second else int(second > first)
    return marks.in_pictures(first, second) + marks.compared("more", more)


def _picture_with(rng: random.Random, scenes: tuple[Scene, ...]) -> Found | None:
    named = [{form for shape in scene.shapes for form in (_name(shape), shape.kind)} for scene in scenes]
    names = sorted(set().union(*named))
    only = [name for name in names if sum(name in seen for seen in named) == 1]
    if not only:
        return None
    name = rng.choice(only)
    place = next(number for number, seen in enumerate(named) if name in seen)
    meant = [shape for shape in scenes[place].shapes if name in (_name(shape), shape.kind)]
    marked = mark(scenes[place], meant[0], place) if len(meant) == 1 else ""
    if len(scenes) == 2:
        marked += _counted(*(len(meant) if number == place else 0 for number in range(2)))
    return Found({"a_name": article(name) + marked}, f"The {ORDINALS[place]} picture shows {article(name)}.")


def _more_of(rng: random.Random, scenes: tuple[Scene, ...]) -> Found | None:
    kinds = sorted({shape.kind for scene in scenes for shape in scene.shapes})
    if not kinds:
        return None
    kind = rng.choice((*kinds, "shape"))
    counts = [sum(kind in ("shape", shape.kind) for shape in scene.shapes) for scene in scenes]
    most = [number for number, count in enumerate(counts) if count == max(counts)]
    if len(most) == 1:
        answer = f"The {ORDINALS[most[0]]} picture has {'more' if len(scenes) == 2 else 'the most'} {plural(kind)}."
    elif len(scenes) == 2:
        answer = f"Both pictures have the same number of {plural(kind)}."
    else:
        return None
    if len(scenes) == 2:
        return Found({"names": plural(kind) + _counted(*counts)}, answer)
    return Found({"names": plural(kind)}, answer, "most_of")


def _difference(rng: random.Random, scenes: tuple[Scene, ...]) -> Found | None:
    """What is different between a scene and its variation."""
    if (found := _changed(scenes)) is None:
        return None
    gone, new = found
    if not gone and not new:
        return Found({}, f"{SAME}Nothing is different. The pictures are the same.")
    if len(gone) == len(new) == 1 and gone[0].points == new[0].points:
        old, changed = gone[0], new[0]
        colours = f"{old.colour} in the first picture and {changed.colour} in the second"
        return Found({}, f"{DIFFERENT}The {mark(scenes[0], old)}{old.kind} is {colours}.")
    if len(gone) + len(new) == 1:
        place, shape = (0, gone[0]) if gone else (1, new[0])
        thing = a_thing(scenes[place], shape, place)
        return Found({}, f"{DIFFERENT}Only the {ORDINALS[place]} picture has {thing}.")
    return None


def _missing(rng: random.Random, scenes: tuple[Scene, ...]) -> Found | None:
    """A shape that one of two pictures has and the other lacks.

    The answer always says which one lacks it, so that it also corrects a question with the pictures exchanged.
    """
    changed = _changed(scenes)
    if changed is None or all(changed) or (found := _difference(rng, scenes)) is None:
        return None
    place = rng.randrange(2)
    return replace(found, fill={"ordinal": ORDINALS[place], "fuller": ORDINALS[1 - place]})


def _changed(scenes: tuple[Scene, ...]) -> tuple[list[Shape], list[Shape]] | None:
    """The shapes of only the first and those of only the second of two pictures.

    None if the pictures differ in more than shapes.
    """
    first, second = scenes[0], scenes[-1]
    if len(scenes) != 2 or (first.width, first.height, first.background) != (
        second.width,
        second.height,
        second.background,
    ):
        return None
    gone = [shape for shape in first.shapes if shape not in second.shapes]
    return gone, [shape for shape in second.shapes if shape not in first.shapes]


def _are(claim: str, rng: random.Random, scenes: tuple[Scene, ...]) -> Found | None:
    """Whether a claim about two pictures (the same, different) is right."""
    if len(scenes) != 2:
        return None
    first, second = scenes
    is_same = first.shapes == second.shapes and first.background == second.background
    truth = "the same" if is_same else "different"
    answer = f"{'Yes' if claim == truth else 'No'}, the pictures are {truth}."
    return Found({}, f"{SAME if is_same else DIFFERENT}{answer}")


def _describe_one(rng: random.Random, scenes: tuple[Scene, ...]) -> Found:
    place = rng.randrange(len(scenes))
    return Found({"ordinal": ORDINALS[place]}, describe(scenes[place], place))


def _colour_in(rng: random.Random, scenes: tuple[Scene, ...]) -> Found | None:
    place = rng.randrange(len(scenes))
    kinds = [shape.kind for shape in scenes[place].shapes]
    unique = [shape for shape in scenes[place].shapes if kinds.count(shape.kind) == 1]
    if not unique:
        return None
    shape = rng.choice(unique)
    name = shape.kind + mark(scenes[place], shape, place)
    return Found({"ordinal": ORDINALS[place], "name": name}, f"The {shape.kind} is {shape.colour}.")


COMPARISONS: dict[str, tuple[float, Comparison]] = {
    "picture_with": (4, _picture_with),
    "more_of": (5, _more_of),
    "difference": (6, _difference),
    "missing": (6, _missing),
    "are_same": (1.5, partial(_are, "the same")),
    "are_different": (1.5, partial(_are, "different")),
    "describe_one": (3, _describe_one),
    "colour_in": (1.5, _colour_in),
}
