"""Bar charts: upright or lying, with labels, with values at the bars or without, with no numbers along the axis."""

import random
import string
from dataclasses import replace
from itertools import pairwise

from training.colours import COLOURS, Rgb, contrasts, tint
from training.scene import Chart, Line, Point, Scene, Shape, Writing
from training.shapes import worn
from training.writing import fonts, ink, word

LABELS: tuple[tuple[str, ...], ...] = (
    tuple(string.ascii_uppercase), tuple(string.ascii_uppercase), tuple(string.ascii_uppercase),
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    ("Q1", "Q2", "Q3", "Q4"),
    ("2019", "2020", "2021", "2022", "2023", "2024", "2025"),
    ("Apples", "Pears", "Plums", "Figs", "Kiwis", "Limes", "Nuts"),
    ("Cats", "Dogs", "Birds", "Fish", "Cows", "Pigs"),
    ("North", "South", "East", "West"),
)  # fmt: skip
MIN_DIFFERENCE = 0.06  # of the highest value, between any two bars


def chart_scene(rng: random.Random, held_out: bool = False) -> Scene:
    """Two to six bars, no two alike in height."""
    scene = Scene(1, 1, "white", ((255,) * 3, (255,) * 3), False, ())
    while not scene.writings:
        scene = _chart(rng, held_out)
    return worn(rng, scene)


def _values(rng: random.Random, count: int) -> tuple[int, ...]:
    highest = rng.choice((10, 20, 50, 100, 100, 500, 1000))
    while True:
        values = tuple(rng.randint(max(1, highest // 12), highest) for _ in range(count))
        ranked = sorted(values)
        if all(b - a >= MIN_DIFFERENCE * ranked[-1] for a, b in pairwise(ranked)):
            return values


def _labels(rng: random.Random, count: int, held_out: bool) -> tuple[str, ...]:
    names = rng.choice([group for group in LABELS if len(group) >= count])
    if rng.random() < 0.25:
        return tuple(word(rng, held_out)[:5] for _ in range(count))
    start = rng.randrange(len(names) - count + 1) if len(names) < 26 or rng.random() < 0.5 else 0
    return names[start : start + count]


def _chart(rng: random.Random, held_out: bool) -> Scene:
    count = rng.randint(2, 6)
    labels, values = _labels(rng, count, held_out), _values(rng, count)
    dark = rng.random() < 0.15
    background = "black" if dark else "white"
    back: Rgb = tint(rng, background, pure=True)
    front: Rgb = (235, 235, 235) if dark else rng.choice(((0, 0, 0), (50, 50, 50)))
    chart = Chart(labels, values, rng.random() < 0.25, rng.random() < 0.65, _title(rng, held_out))
    width, height = rng.choice(((320, 240), (400, 300), (300, 300), (480, 360), (640, 480), (256, 256)))
    scene = Scene(width, height, background, (back, back), False, (), chart=chart)
    if len(set(labels)) < count:
        return scene
    return _plotted(rng, scene, chart, front, held_out)


def _title(rng: random.Random, held_out: bool) -> str:
    return word(rng, held_out).capitalize() if rng.random() < 0.3 else ""


def _plotted(rng: random.Random, scene: Scene, chart: Chart, front: Rgb, held_out: bool) -> Scene:
    """Bars, axes and writing; without writing where a label would not fit."""
    longer, font = max(scene.width, scene.height), rng.choice(fonts(held_out))
    em = rng.uniform(0.062, 0.085) * longer
    left = (max(ink(label, font)[0] for label in chart.labels) * em if chart.is_horizontal else 0) + 0.05 * longer
    top = (1.9 if chart.title else 1.3) * em if not chart.is_horizontal or chart.title else 0.4 * em
    bottom, right = scene.height - (1.5 if not chart.is_horizontal else 0.4) * em, scene.width - 0.04 * longer
    if chart.is_horizontal and chart.shows_values:
        right -= 2.4 * em
    plot = (left, top, right, bottom)
    bars = _bars(rng, scene, chart, plot)
    writings = _writings(scene, chart, bars, plot, em, font, front)
    widest = (right - left) / len(bars) if not chart.is_horizontal else 1e9
    texts = [*chart.labels, *(map(str, chart.values) if chart.shows_values else ())]
    if any(ink(text, font)[0] * em > 0.96 * widest for text in texts):
        return scene
    axes = [Line((left, top), (left, bottom), front, 1 + 0.002 * longer)]
    axes.append(Line((left, bottom), (right, bottom), front, 1 + 0.002 * longer))
    return replace(scene, shapes=tuple(bars), writings=tuple(writings), lines=(*_grid(rng, scene, plot), *axes))


def _grid(rng: random.Random, scene: Scene, plot: tuple[float, float, float, float]) -> list[Line]:
    left, top, right, bottom = plot
    if rng.random() < 0.6:
        return []
    grey: Rgb = (200, 200, 200) if scene.background == "white" else (70, 70, 70)
    return [Line((left, y), (right, y), grey, 1) for y in (top + (bottom - top) * n / 4 for n in range(4))]


def _bars(rng: random.Random, scene: Scene, chart: Chart, plot: tuple[float, float, float, float]) -> list[Shape]:
    left, top, right, bottom = plot
    count, gap = len(chart.values), rng.uniform(0.15, 0.5)
    allowed = [name for name in COLOURS if contrasts(COLOURS[name][0], scene.gradient[0])]
    one = rng.choice(allowed)
    names = rng.sample(allowed, count) if rng.random() < 0.4 and len(allowed) >= count else [one] * count
    across = ((bottom - top) if chart.is_horizontal else (right - left)) / count
    along = (right - left) if chart.is_horizontal else (bottom - top)
    highest, bars = max(chart.values) * rng.uniform(1.0, 1.15), list[Shape]()
    tints = {name: tint(rng, name, pure=rng.random() < 0.6) for name in names}
    for place, (value, name) in enumerate(zip(chart.values, names, strict=True)):
        near, far, length = (place + gap / 2) * across, (place + 1 - gap / 2) * across, along * value / highest
        points: tuple[Point, ...]
        if chart.is_horizontal:
            points = ((left, top + near), (left + length, top + near), (left + length, top + far), (left, top + far))
        else:
            points = (
                (left + near, bottom - length),
                (left + far, bottom - length),
                (left + far, bottom),
                (left + near, bottom),
            )
        bars.append(Shape("bar", name, tints[name], points))
    return bars


def _writings(
    scene: Scene,
    chart: Chart,
    bars: list[Shape],
    plot: tuple[float, float, float, float],
    em: float,
    font: str,
    front: Rgb,
) -> list[Writing]:
    """The title, the labels, the values."""
    colour = "white" if scene.background == "black" else "black"
    left, _, _, bottom = plot

    def write(text: str, x: float, y: float) -> Writing:
        return Writing(text, colour, front, font, em, (x, y))

    found = [write(chart.title, scene.width / 2, 0.6 * em)] if chart.title else []
    for label, value, bar in zip(chart.labels, chart.values, bars, strict=True):
        (_, y0, x1, _), (x, y) = bar.box, bar.centre
        if chart.is_horizontal:
            found.append(write(label, left - (ink(label, font)[0] / 2 + 0.25) * em, y))
        else:
            found.append(write(label, x, bottom + 0.75 * em))
        if chart.shows_values:
            digits = str(value)
            beside = x1 + (ink(digits, font)[0] / 2 + 0.25) * em
            found.append(write(digits, beside, y) if chart.is_horizontal else write(digits, x, y0 - 0.55 * em))
    return found
