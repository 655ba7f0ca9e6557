"""Questions about bar charts. A scene's chart says what each bar stands for; its bars are the scene's shapes."""

import random

from training import marks
from training.facts import NUMBERS, Found, Table, listing
from training.scene import Chart, Scene

CLOSE = 0.15  # of the highest bar; without printed values, bars that differ by less are not compared


def _chart(scene: Scene) -> Chart:
    assert scene.chart
    return scene.chart


def _any_bar(rng: random.Random, chart: Chart) -> int:
    return rng.randrange(len(chart.labels))


def _asked(chart: Chart, bar: int) -> str:
    """The bar's label in a question."""
    return chart.labels[bar] + marks.shape(bar)


def _label(chart: Chart, bar: int) -> str:
    """The bar's label in an answer."""
    return marks.reading(chart.labels[bar], _letters_before(chart, bar))


def _value(chart: Chart, bar: int) -> str:
    """The bar's printed value in an answer."""
    return marks.reading(str(chart.values[bar]), _letters_before(chart, bar) + len(chart.labels[bar]))


def _letters_before(chart: Chart, bar: int) -> int:
    """Visible characters before the bar's label, in the order of the scene's writings."""
    values = chart.values[:bar] if chart.shows_values else ()
    return sum(map(len, (chart.title.replace(" ", ""), *chart.labels[:bar], *map(str, values))))


def _extreme_bar(scene: Scene, take_highest: bool) -> int | None:
    """The highest or lowest bar; None where it is a close thing."""
    chart = _chart(scene)
    ranked = sorted(range(len(chart.values)), key=lambda bar: chart.values[bar], reverse=take_highest)
    apart = abs(chart.values[ranked[0]] - chart.values[ranked[1]]) / max(chart.values)
    return ranked[0] if apart >= CLOSE / 2 else None


def _tallest(rng: random.Random, scene: Scene) -> Found | None:
    bar = _extreme_bar(scene, take_highest=True)
    return None if bar is None else Found({}, f"{_label(_chart(scene), bar)} is the tallest bar.")


def _shortest(rng: random.Random, scene: Scene) -> Found | None:
    bar = _extreme_bar(scene, take_highest=False)
    return None if bar is None else Found({}, f"{_label(_chart(scene), bar)} is the shortest bar.")


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
    asked = f"{chart.values[bar]}{marks.shape(bar)}"
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
    label = _label(_chart(scene), bar)
    return Found({}, f"A bar chart with {NUMBERS[len(scene.shapes)]} bars. {label} is the tallest.", "describe")


CHART_QUESTIONS: Table = {
    "tallest": (6, _tallest),
    "shortest": (5, _shortest),
    "value_of": (6, _value_of),
    "values": (5, _values),
    "with_value": (5, _with_value),
    "num_bars": (1.5, _num_bars),
    "labels": (3, _labels),
    "is_taller": (5, _is_taller),
    "bar_colour": (1.5, _bar_colour),
    "chart_title": (2, _chart_title),
    "describe_chart": (3, _describe_chart),
}
