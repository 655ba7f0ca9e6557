"""Questions about bar charts. A scene's chart has the meaning of each bar; its bars are the scene's shapes."""

import random
from functools import partial

from training import marks
from training.facts import NUMBERS, ORDINALS, Finder, Found, Table, listing
from training.scene import Chart, Scene

TOO_SMALL = "The writing in the chart is too small for me to read."
CLOSE = 0.15  # of the highest bar; without printed values, bars that differ by less are not compared


def _chart(scene: Scene) -> Chart:
    assert scene.chart
    return scene.chart


def _any_bar(rng: random.Random, chart: Chart) -> int:
    return rng.randrange(len(chart.labels))


def _asked(chart: Chart, bar: int) -> str:
    """The bar's label, marked for a question."""
    return _label(chart, bar) + marks.shape(bar)


def _label(chart: Chart, bar: int) -> str:
    return marks.reading(chart.labels[bar], _letters_before(chart, bar))


def _value(chart: Chart, bar: int) -> str:
    """The value that is printed at the bar, marked."""
    return marks.reading(str(chart.values[bar]), _letters_before(chart, bar) + len(chart.labels[bar]))


def _letters_before(chart: Chart, bar: int) -> int:
    """Visible characters before the bar's label, in the order of the scene's writings."""
    values = chart.values[:bar] if chart.shows_values else ()
    return marks.letters_in((chart.title, *chart.labels[:bar], *map(str, values)))


def _extreme_bar(scene: Scene, take_highest: bool) -> int | None:
    """The highest or lowest bar; None if another is nearly equal."""
    chart = _chart(scene)
    ranked = sorted(range(len(chart.values)), key=lambda bar: chart.values[bar], reverse=take_highest)
    apart = abs(chart.values[ranked[0]] - chart.values[ranked[1]]) / max(chart.values)
    return ranked[0] if apart >= CLOSE / 2 else None


def _extreme(name: str, rng: random.Random, scene: Scene) -> Found | None:
    """The tallest or the shortest bar, by its label, or by its place if the label is too small to read."""
    bar = _extreme_bar(scene, take_highest=name == "tallest")
    if bar is None:
        return None
    if not _chart(scene).is_legible:
        return Found({}, f"{_by_place(scene, bar)} is the {name}. Its name is too small for me to read.")
    return Found({}, f"{_label(_chart(scene), bar)} is the {name} bar.")


def _by_place(scene: Scene, bar: int) -> str:
    side = "top" if _chart(scene).is_horizontal else "left"
    return f"The {marks.shape(bar)}{ORDINALS[bar]} bar from the {side}"


def _legible(find: Finder) -> Finder:
    """The same question, answered from the chart only if its writing is large enough to read."""

    def find_legible(rng: random.Random, scene: Scene) -> Found | None:
        found = find(rng, scene)
        if not found or _chart(scene).is_legible:
            return found
        return Found({slot: marks.unmarked(words) for slot, words in found.fill.items()}, TOO_SMALL, found.phrasing)

    return find_legible


def _value_of(rng: random.Random, scene: Scene) -> Found | None:
    chart = _chart(scene)
    bar = _any_bar(rng, chart)
    if not chart.shows_values:
        return Found({"label": _asked(chart, bar)}, "The chart shows no values.") if rng.random() < 0.2 else None
    return Found({"label": _asked(chart, bar)}, f"The value of {_label(chart, bar)} is {_value(chart, bar)}.")


def _with_value(rng: random.Random, scene: Scene) -> Found | None:
    chart = _chart(scene)
    if not chart.shows_values:
        return None
    bar = _any_bar(rng, chart)
    asked = _value(chart, bar) + marks.shape(bar)
    return Found({"value": asked}, f"{_label(chart, bar)} has the value {_value(chart, bar)}.")


def _values(rng: random.Random, scene: Scene) -> Found | None:
    chart = _chart(scene)
    if not chart.shows_values:
        return None
    each = (f"{_label(chart, bar)} is {_value(chart, bar)}" for bar in range(len(chart.labels)))
    return Found({}, f"{listing(each)}.")


def _num_bars(rng: random.Random, scene: Scene) -> Found:
    return Found({}, f"There are {NUMBERS[len(scene.shapes)]} bars.")


def _labels(rng: random.Random, scene: Scene) -> Found:
    chart = _chart(scene)
    return Found({}, f"The bars are {listing(_label(chart, bar) for bar in range(len(chart.labels)))}.")


def _is_taller(rng: random.Random, scene: Scene) -> Found | None:
    chart = _chart(scene)
    first, second = rng.sample(range(len(chart.labels)), 2)
    apart = (chart.values[first] - chart.values[second]) / max(chart.values)
    if abs(apart) < CLOSE:
        return None
    one, other = chart.labels[first], chart.labels[second]
    answer = f"Yes, {one} is taller than {other}." if apart > 0 else f"No, {one} is shorter than {other}."
    return Found(
        {"label": _asked(chart, first), "other": _asked(chart, second) + marks.compared("higher", int(apart < 0))},
        answer,
    )


def _bar_colour(rng: random.Random, scene: Scene) -> Found:
    chart = _chart(scene)
    bar = _any_bar(rng, chart)
    return Found({"label": _asked(chart, bar)}, f"The bar {chart.labels[bar]} is {scene.shapes[bar].colour}.")


def _chart_title(rng: random.Random, scene: Scene) -> Found | None:
    if title := _chart(scene).title:
        return Found({}, f'The title is "{marks.reading(title, 0)}".')
    return Found({}, "The chart has no title.") if rng.random() < 0.3 else None


def _describe_chart(rng: random.Random, scene: Scene) -> Found | None:
    bar = _extreme_bar(scene, take_highest=True)
    if bar is None:
        return None
    chart = _chart(scene)
    name = _label(chart, bar) if chart.is_legible else _by_place(scene, bar)
    return Found({}, f"A bar chart with {NUMBERS[len(scene.shapes)]} bars. {name} is the tallest.", "describe")


CHART_QUESTIONS: Table = {
    "tallest": (6, partial(_extreme, "tallest")),
    "shortest": (5, partial(_extreme, "shortest")),
    "value_of": (6, _legible(_value_of)),
    "values": (5, _legible(_values)),
    "with_value": (5, _legible(_with_value)),
    "num_bars": (1.5, _num_bars),
    "labels": (3, _legible(_labels)),
    "is_taller": (5, _legible(_is_taller)),
    "bar_colour": (1.5, _legible(_bar_colour)),
    "chart_title": (2, _legible(_chart_title)),
    "describe_chart": (3, _describe_chart),
}
