"""Questions about bar charts. A scene's chart says what each bar stands for; its bars are the scene's shapes."""

import random

from training.facts import NUMBERS, Found, Table, listing
from training.scene import Chart, Scene

CLOSE = 0.15  # of the highest bar; without printed values, bars that differ by less are not compared


def _chart(scene: Scene) -> Chart:
    assert scene.chart
    return scene.chart


def _extreme_bar(scene: Scene, take_highest: bool) -> str | None:
    """The label of the highest or lowest bar; None where it is a close thing."""
    chart = _chart(scene)
    ranked = sorted(zip(chart.values, chart.labels, strict=True), reverse=take_highest)
    apart = abs(ranked[0][0] - ranked[1][0]) / max(chart.values)
    return ranked[0][1] if apart >= CLOSE / 2 else None


def _tallest(rng: random.Random, scene: Scene) -> Found | None:
    label = _extreme_bar(scene, take_highest=True)
    return Found({}, f"{label} is the tallest bar.") if label else None


def _shortest(rng: random.Random, scene: Scene) -> Found | None:
    label = _extreme_bar(scene, take_highest=False)
    return Found({}, f"{label} is the shortest bar.") if label else None


def _value_of(rng: random.Random, scene: Scene) -> Found | None:
    chart = _chart(scene)
    if not chart.shows_values:
        return Found({"label": rng.choice(chart.labels)}, "The chart shows no values.") if rng.random() < 0.2 else None
    label, value = rng.choice(list(zip(chart.labels, chart.values, strict=True)))
    return Found({"label": label}, f"The value of {label} is {value}.")


def _with_value(rng: random.Random, scene: Scene) -> Found | None:
    chart = _chart(scene)
    if not chart.shows_values:
        return None
    label, value = rng.choice(list(zip(chart.labels, chart.values, strict=True)))
    return Found({"value": str(value)}, f"{label} has the value {value}.")


def _values(rng: random.Random, scene: Scene) -> Found | None:
    chart = _chart(scene)
    if not chart.shows_values:
        return None
    pairs = zip(chart.labels, chart.values, strict=True)
    return Found({}, f"{listing(f'{label} is {value}' for label, value in pairs)}.")


def _num_bars(rng: random.Random, scene: Scene) -> Found:
    return Found({}, f"There are {NUMBERS[len(scene.shapes)]} bars.")


def _labels(rng: random.Random, scene: Scene) -> Found:
    return Found({}, f"The bars are {listing(_chart(scene).labels)}.")


def _is_taller(rng: random.Random, scene: Scene) -> Found | None:
    chart = _chart(scene)
    first, second = rng.sample(range(len(chart.labels)), 2)
    apart = (chart.values[first] - chart.values[second]) / max(chart.values)
    if abs(apart) < CLOSE:
        return None
    one, other = chart.labels[first], chart.labels[second]
    answer = f"Yes, {one} is taller than {other}." if apart > 0 else f"No, {one} is shorter than {other}."
    return Found({"label": one, "other": other}, answer)


def _bar_colour(rng: random.Random, scene: Scene) -> Found:
    chart = _chart(scene)
    label, bar = rng.choice(list(zip(chart.labels, scene.shapes, strict=True)))
    return Found({"label": label}, f"The bar {label} is {bar.colour}.")


def _chart_title(rng: random.Random, scene: Scene) -> Found | None:
    if title := _chart(scene).title:
        return Found({}, f'The title is "{title}".')
    return Found({}, "The chart has no title.") if rng.random() < 0.3 else None


def _describe_chart(rng: random.Random, scene: Scene) -> Found | None:
    label = _extreme_bar(scene, take_highest=True)
    if label is None:
        return None
    return Found({}, f"A bar chart with {NUMBERS[len(scene.shapes)]} bars. {label} is the tallest.", "describe")


CHART_QUESTIONS: Table = {
    "tallest": (6, _tallest),
    "shortest": (5, _shortest),
    "value_of": (6, _value_of),
    "values": (5, _values),
    "with_value": (4, _with_value),
    "num_bars": (1.5, _num_bars),
    "labels": (3, _labels),
    "is_taller": (5, _is_taller),
    "bar_colour": (1.5, _bar_colour),
    "chart_title": (2, _chart_title),
    "describe_chart": (3, _describe_chart),
}
