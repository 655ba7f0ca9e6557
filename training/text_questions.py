"""Questions about what is written in a picture; where nothing is, the answers say so."""

import random

from training import marks
from training.facts import Found, Table
from training.scene import Scene

NO_TEXT = "There is no text in the picture."


def _text(scene: Scene) -> str:
    return marks.reading(scene.text, 0)


def _read(rng: random.Random, scene: Scene) -> Found | None:
    if scene.writings:
        return Found({}, f'It says "{_text(scene)}".')
    return Found({}, NO_TEXT) if rng.random() < 0.15 else None


def _number(rng: random.Random, scene: Scene) -> Found | None:
    if scene.text.isdigit():
        return Found({}, f"The number is {_text(scene)}.")
    return Found({}, "There is no number in the picture.") if rng.random() < 0.05 else None


def _text_colour(rng: random.Random, scene: Scene) -> Found | None:
    if scene.writings:
        return Found({}, f"The text is {scene.writings[0].colour}.")
    return Found({}, NO_TEXT) if rng.random() < 0.05 else None


def _has_text(rng: random.Random, scene: Scene) -> Found | None:
    if scene.writings:
        return Found({}, f'Yes, it says "{_text(scene)}".')
    return Found({}, "No, there is no text.") if rng.random() < 0.3 else None


def _no_chart(rng: random.Random, scene: Scene) -> Found | None:
    kind = rng.choice(("tallest", "shortest", "num_bars"))
    return Found({}, "There is no chart in the picture.", phrasing=kind) if rng.random() < 0.3 else None


TEXT_QUESTIONS: Table = {
    "read": (10, _read),
    "number": (5, _number),
    "text_colour": (2, _text_colour),
    "has_text": (3, _has_text),
    "no_chart": (0.7, _no_chart),
}
