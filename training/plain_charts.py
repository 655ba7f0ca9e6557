"""Questions about bars as people ask them, by colour or place where they have no names, and the short answers."""

import random

from training import marks
from training.facts import NUMBERS, ORDINALS, Found, Table
from training.scene import Scene

TALLEST = ("tallest", "highest", "longest", "largest", "biggest")
SHORTEST = ("shortest", "smallest", "lowest")
CLEARLY = 0.1  # of the tallest bar: by how much two that are compared differ at least


def _ranked(scene: Scene, tallest: bool) -> int | None:
    """The tallest or shortest bar; None if another is nearly equal."""
    values = scene.chart.values if scene.chart else ()
    order = sorted(range(len(values)), key=lambda bar: values[bar], reverse=tallest)
    return order[0] if abs(values[order[0]] - values[order[1]]) >= 0.075 * max(values) else None


def _has_colours(scene: Scene) -> bool:
    """Whether each bar has a colour of its own."""
    return len({bar.colour for bar in scene.shapes}) == len(scene.shapes)


def _in_place(scene: Scene, bar: int) -> str:
    assert scene.chart
    return f"{ORDINALS[bar]} bar from the {'top' if scene.chart.is_horizontal else 'left'}"


def _bar_name(scene: Scene, bar: int) -> str:
    marked = marks.shape(bar)
    return f"{marked}{scene.shapes[bar].colour} bar" if _has_colours(scene) else f"{marked}{_in_place(scene, bar)}"


def _which_bar(rng: random.Random, scene: Scene) -> Found | None:
    """Without names, by colour or by place."""
    assert scene.chart
    tallest = rng.random() < 0.6
    if scene.chart.labels or (bar := _ranked(scene, tallest)) is None:
        return None
    size = rng.choice(TALLEST if tallest else SHORTEST)
    short = scene.shapes[bar].colour if _has_colours(scene) else ORDINALS[bar]
    said = f"The {_bar_name(scene, bar)} is the {'tallest' if tallest else 'shortest'}."
    return Found({"size": size}, said, short=marks.shape(bar) + short)


def _colour_of_extreme(rng: random.Random, scene: Scene) -> Found | None:
    tallest = rng.random() < 0.6
    if (bar := _ranked(scene, tallest)) is None:
        return None
    size = rng.choice(TALLEST if tallest else SHORTEST)
    said = "tallest" if tallest else "shortest"
    colour = marks.shape(bar) + scene.shapes[bar].colour
    return Found({"size": size}, f"The {said} bar is {colour}.", short=colour)


def _colour_at(rng: random.Random, scene: Scene) -> Found | None:
    assert scene.chart
    bar, count = rng.randrange(len(scene.shapes)), len(scene.shapes)
    start, end = ("top", "bottom") if scene.chart.is_horizontal else ("left", "right")
    ways = [f"{ORDINALS[bar]} bar from the {start}", f"{ORDINALS[bar]} bar", f"bar number {bar + 1}"]
    ways += [f"{start}most bar", f"bar on the far {start}", "first bar"] * (bar == 0)
    ways += [f"{end}most bar", f"bar on the far {end}", "last bar"] * (bar == count - 1)
    colour = scene.shapes[bar].colour
    return Found({"place": rng.choice(ways) + marks.shape(bar)}, f"The bar is {colour}.", short=colour)


def _two(rng: random.Random, scene: Scene) -> tuple[int, int, bool] | None:
    """Two bars that colours tell apart, and whether the first is the taller one; None if they are nearly equal."""
    assert scene.chart
    if not _has_colours(scene):
        return None
    one, two = rng.sample(range(len(scene.shapes)), 2)
    apart = (scene.chart.values[one] - scene.chart.values[two]) / max(scene.chart.values)
    return (one, two, apart > 0) if abs(apart) >= CLEARLY else None


def _higher_bar(rng: random.Random, scene: Scene) -> Found | None:
    if not (pair := _two(rng, scene)):
        return None
    one, two, is_taller = pair
    best = one if is_taller else two
    first, second = (f"{scene.shapes[bar].colour}{marks.shape(bar)}" for bar in (one, two))
    colour = marks.shape(best) + scene.shapes[best].colour
    told = marks.compared("higher", int(not is_taller))
    return Found({"one": first, "two": second + told}, f"The {colour} bar is taller.", short=colour)


def _is_higher(rng: random.Random, scene: Scene) -> Found | None:
    if not (pair := _two(rng, scene)):
        return None
    one, two, is_taller = pair
    first, second = (scene.shapes[bar].colour for bar in (one, two))
    answer = f"Yes, the {first} bar is taller." if is_taller else f"No, the {first} bar is shorter."
    told = marks.shape(two) + marks.compared("higher", int(not is_taller))
    return Found({"one": first + marks.shape(one), "two": second + told}, answer, short=is_taller)


def _how_many_bars(rng: random.Random, scene: Scene) -> Found:
    return Found({}, f"There are {NUMBERS[len(scene.shapes)]} bars.", short=len(scene.shapes))


PLAIN_CHARTS: Table = {
    "plain_which_bar": (8, _which_bar), "plain_extreme_colour": (4, _colour_of_extreme),
    "plain_bar_at": (3, _colour_at), "plain_higher_bar": (4, _higher_bar),
    "plain_is_higher": (4, _is_higher), "plain_bars": (1, _how_many_bars),
}  # fmt: skip
