"""Bar charts: upright or lying, with labels, with or without a frame, values at the bars and numbers along the axis."""

import random
import string
from dataclasses import dataclass, replace
from itertools import pairwise

from training.colours import COLOURS, Rgb, contrasts, tint
from training.scene import Box, Chart, Line, Point, Scene, Shape, Writing
from training.shapes import worn
from training.writing import fonts, ink, outside, word

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
# Sizes of writing in parts of the picture's longer side: most charts can be read, some cannot; held-out ones all can.
EMS, ILLEGIBLE_EMS, HELD_OUT_EMS = (0.045, 0.085), (0.018, 0.03), (0.062, 0.085)
ILLEGIBLE_SHARE = 0.15
# The share of charts with words at their bars, which cannot be guessed from one another. It is larger in training than
# in the evaluation, since small letters are learned last.
WORDS_SHARE, HELD_OUT_WORDS_SHARE = 0.6, 0.25


@dataclass(frozen=True)
class _Pen:
    """The font, size and colour of a chart's writing."""

    colour: str
    rgb: Rgb
    font: str
    em: float  # pixels

    def width(self, text: str) -> float:
        return ink(text, self.font)[0] * self.em

    def write(self, text: str, x: float, y: float) -> Writing:
        return Writing(text, self.colour, self.rgb, self.font, self.em, (x, y))


def chart_scene(rng: random.Random, held_out: bool = False) -> Scene:
    """Two to six bars, no two alike in height."""
    scene = Scene(1, 1, "white", ((255,) * 3, (255,) * 3), False, ())
    while not scene.writings:
        scene = _chart(rng, held_out)
    return worn(rng, scene)


def unnamed_scene(rng: random.Random) -> Scene:
    """A chart without writing, whose bars are known by colour or by place; most have colours of their own."""
    while True:
        scene = chart_scene(rng)
        chart = scene.chart
        if chart and (len({bar.colour for bar in scene.shapes}) > 1 or rng.random() < 0.1):
            bare = replace(chart, labels=(), title="", ticks=(), shows_values=False, is_legible=True)
            return replace(scene, chart=bare, writings=())


def _values(rng: random.Random, count: int) -> tuple[int, ...]:
    highest = rng.choice((10, 20, 50, 100, 100, 500, 1000))
    while True:
        values = tuple(rng.randint(max(1, highest // 12), highest) for _ in range(count))
        ranked = sorted(values)
        if all(b - a >= MIN_DIFFERENCE * ranked[-1] for a, b in pairwise(ranked)):
            return values


def _labels(rng: random.Random, count: int, held_out: bool) -> tuple[str, ...]:
    names = rng.choice([group for group in LABELS if len(group) >= count])
    if rng.random() < (HELD_OUT_WORDS_SHARE if held_out else WORDS_SHARE):
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
    end = max(values) * rng.uniform(1.0, 1.2)  # the value at the far end of the axis
    is_legible = held_out or rng.random() >= ILLEGIBLE_SHARE
    ticks = _ticks(rng, end, 6 if held_out else 9) if rng.random() < 0.4 else ()
    shows_values = rng.random() < (0.5 if ticks else 0.65)
    is_horizontal, title, is_framed = rng.random() < 0.25, _title(rng, held_out), rng.random() < 0.35
    chart = Chart(labels, values, is_horizontal, shows_values, title, ticks, is_framed, is_legible)
    width, height = rng.choice(((320, 240), (400, 300), (300, 300), (480, 360), (640, 480), (256, 256)))
    scene = Scene(width, height, background, (back, back), False, (), chart=chart)
    if len(set(labels)) < count:
        return scene
    return _plotted(rng, scene, chart, end, front, held_out)


def _ticks(rng: random.Random, end: float, most: int) -> tuple[int, ...]:
    """0 and two to `most` round numbers up to the end of the axis."""
    sizes = (part * 10**power for power in range(4) for part in (1, 2, 5))
    step = rng.choice([size for size in sizes if 2 <= end // size <= most])
    return tuple(range(0, int(end) + 1, step))


def _title(rng: random.Random, held_out: bool) -> str:
    return word(rng, held_out).capitalize() if rng.random() < 0.3 else ""


def _plotted(rng: random.Random, scene: Scene, chart: Chart, end: float, front: Rgb, held_out: bool) -> Scene:
    """Adds bars, axes and writing; no writing if a label would not fit."""
    longer, font = max(scene.width, scene.height), rng.choice(fonts(held_out))
    ems = HELD_OUT_EMS if held_out else EMS if chart.is_legible else ILLEGIBLE_EMS
    pen = _Pen("white" if scene.background == "black" else "black", front, font, rng.uniform(*ems) * longer)
    plot = _plot(scene, chart, pen)
    bars = _bars(rng, scene, chart, plot, end)
    places = _places(chart, plot, end)
    writings = _writings(scene, chart, bars, plot, places, pen, gap=rng.uniform(0.08, 0.4))
    if not _are_apart(chart, bars, places, pen) or any(outside(writing.box(), scene) for writing in writings):
        return scene
    lines = (*_grid(rng, scene, plot, places), *_axes(chart, plot, places, pen, 1 + 0.002 * longer))
    return replace(scene, shapes=tuple(bars), writings=tuple(writings), lines=lines)


def _plot(scene: Scene, chart: Chart, pen: _Pen) -> Box:
    """The box of the bars: the area that the writing around it leaves."""
    longer, em, ticks = max(scene.width, scene.height), pen.em, tuple(map(str, chart.ticks))
    beside, under = (chart.labels, ticks) if chart.is_horizontal else (ticks, chart.labels)
    left = max(map(pen.width, beside), default=0) + 0.05 * longer
    top = (1.9 if chart.title else 1.3) * em if not chart.is_horizontal or chart.title else 0.4 * em
    bottom, right = scene.height - (1.5 if under else 0.4) * em, scene.width - 0.04 * longer
    if chart.is_horizontal and chart.shows_values:
        right -= 2.4 * em
    return left, top, right, bottom


def _are_apart(chart: Chart, bars: list[Shape], places: list[float], pen: _Pen) -> bool:
    """Whether there is room between texts that are side by side."""
    if chart.is_horizontal:
        return all(pen.width(str(tick)) <= 0.85 * (places[1] - places[0]) for tick in chart.ticks)
    texts = [*chart.labels, *(map(str, chart.values) if chart.shows_values else ())]
    return all(pen.width(text) <= 0.96 * (bars[1].centre[0] - bars[0].centre[0]) for text in texts)


def _places(chart: Chart, plot: Box, end: float) -> list[float]:
    """Where along the axis the ticks are, in pixels of the picture."""
    left, top, right, bottom = plot
    return [
        left + (right - left) * tick / end if chart.is_horizontal else bottom - (bottom - top) * tick / end
        for tick in chart.ticks
    ]


def _axes(chart: Chart, plot: Box, places: list[float], pen: _Pen, width: float) -> list[Line]:
    """Two sides of the plot or all four, and the marks of the ticks outside, which end before their numbers."""
    left, top, right, bottom = plot
    mark = min(4 * width, 0.35 * pen.em)
    sides = [((left, top), (left, bottom)), ((left, bottom), (right, bottom))]
    if chart.is_framed:
        sides += [((left, top), (right, top)), ((right, top), (right, bottom))]
    for place in places:
        sides.append(
            ((place, bottom), (place, bottom + mark)) if chart.is_horizontal else ((left - mark, place), (left, place))
        )
    return [Line(start, end, pen.rgb, width) for start, end in sides]


def _grid(rng: random.Random, scene: Scene, plot: Box, places: list[float]) -> list[Line]:
    """Faint lines across, at the ticks where there are any."""
    left, top, right, bottom = plot
    if rng.random() < 0.6:
        return []
    grey: Rgb = (200, 200, 200) if scene.background == "white" else (70, 70, 70)
    if scene.chart and scene.chart.is_horizontal and places:
        return [Line((x, top), (x, bottom), grey, 1) for x in places]
    return [Line((left, y), (right, y), grey, 1) for y in places or (top + (bottom - top) * n / 4 for n in range(4))]


def _bars(rng: random.Random, scene: Scene, chart: Chart, plot: Box, end: float) -> list[Shape]:
    left, top, right, bottom = plot
    count, gap = len(chart.values), rng.uniform(0.15, 0.5)
    inset = rng.uniform(0, 0.06) * ((bottom - top) if chart.is_horizontal else (right - left))
    allowed = [name for name in COLOURS if contrasts(COLOURS[name][0], scene.gradient[0])]
    one = rng.choice(allowed)
    names = rng.sample(allowed, count) if rng.random() < 0.4 and len(allowed) >= count else [one] * count
    across = (((bottom - top) if chart.is_horizontal else (right - left)) - 2 * inset) / count
    along = (right - left) if chart.is_horizontal else (bottom - top)
    bars = list[Shape]()
    tints = {name: tint(rng, name, pure=rng.random() < 0.6) for name in names}
    for place, (value, name) in enumerate(zip(chart.values, names, strict=True)):
        near, far = (inset + (place + share) * across for share in (gap / 2, 1 - gap / 2))
        length = along * value / end
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
    scene: Scene, chart: Chart, bars: list[Shape], plot: Box, places: list[float], pen: _Pen, gap: float
) -> list[Writing]:
    """The title, labels and values bar by bar, the ticks. Values are so many em from the ends of their bars."""
    left, _, _, bottom = plot
    em = pen.em
    found = [pen.write(chart.title, scene.width / 2, 0.6 * em)] if chart.title else []
    for label, value, bar in zip(chart.labels, chart.values, bars, strict=True):
        (_, y0, x1, _), (x, y) = bar.box, bar.centre
        if chart.is_horizontal:
            found.append(pen.write(label, left - pen.width(label) / 2 - 0.25 * em, y))
        else:
            found.append(pen.write(label, x, bottom + 0.75 * em))
        if chart.shows_values:
            digits = str(value)
            beside = x1 + pen.width(digits) / 2 + gap * em
            above = y0 - (0.4 + gap / 2) * em
            found.append(pen.write(digits, beside, y) if chart.is_horizontal else pen.write(digits, x, above))
    for tick, place in zip(map(str, chart.ticks), places, strict=True):
        beside = left - pen.width(tick) / 2 - 0.35 * em
        found.append(
            pen.write(tick, place, bottom + 0.85 * em) if chart.is_horizontal else pen.write(tick, beside, place)
        )
    return found
