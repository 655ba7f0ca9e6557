"""What a case of the blind evaluation is, and scenes and words that several skills use."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from training.blind.drawing import COLORS, SHAPES, TOOLS, Chart, Item, Scene, draw_chart, draw_scene
from training.blind.grading import Choice, Rule

PHRASES = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "above": ("above", "higher than", "above"),
    "below": ("below", "under", "beneath"),
    "larger": ("larger than", "bigger than"),
    "smaller": ("smaller than",),
}


@dataclass(frozen=True)
class Case:
    """A picture, what is asked about it, the rule for the answer, and a right answer for the oracle."""

    picture: bytes
    question: str
    rule: Rule
    truth: str
    wrong: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    call: str = ""  # the name of the tool that the oracle calls, with the truth as its arguments


def tool(rng: random.Random) -> str:
    """Either tool."""
    return rng.choice(TOOLS)


def shown(rng: random.Random, scene: Scene) -> bytes:
    """The scene, drawn by either tool."""
    return draw_scene(scene, tool(rng))


def ground(rng: random.Random) -> str:
    """A plain ground: mostly white."""
    return rng.choice(("white", "white", "white", "light gray", "cream", "black"))


def article(words: str) -> str:
    """The words with a or an."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(shape: str) -> str:
    """Two and more of a shape."""
    return f"{shape}s"


def kinds(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Shapes with colours, no shape and no colour twice."""
    return list(zip(rng.sample(SHAPES, count), rng.sample(tuple(COLORS), count), strict=True))


def single(rng: random.Random, on: str | None = None) -> tuple[Scene, Item]:
    """One large shape near the middle."""
    [(shape, color)] = kinds(rng, 1)
    item = Item(shape, color, rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6), rng.uniform(0.2, 0.3))
    return Scene((item,), on or ground(rng), rng.choice((256, 384, 512))), item


def pair(rng: random.Random, relation: str) -> tuple[Scene, Item, Item]:
    """Two shapes, of which the first is left of, right of, above, below, larger or smaller than the second."""
    (shape, color), (other_shape, other_color) = kinds(rng, 2)
    low, high, shift = rng.uniform(0.22, 0.28), rng.uniform(0.72, 0.78), rng.uniform(0.45, 0.55)
    if relation in ("above", "below"):
        spots = [(shift, low), (shift + rng.uniform(-0.03, 0.03), high)]
    else:
        spots = [(low, shift), (high, shift + rng.uniform(-0.03, 0.03))]
    radii = [rng.uniform(0.13, 0.17)] * 2
    if relation in ("larger", "smaller"):
        radii = [0.2, 0.09] if relation == "larger" else [0.09, 0.2]
        rng.shuffle(spots)
    elif relation in ("right", "below"):
        spots.reverse()
    first = Item(shape, color, *spots[0], radii[0])
    second = Item(other_shape, other_color, *spots[1], radii[1])
    items = (first, second) if rng.random() < 0.5 else (second, first)
    return Scene(items, ground(rng), rng.choice((320, 384, 512))), first, second


def crowd(rng: random.Random, wanted: Sequence[tuple[str, str]], on: str | None = None) -> Scene:
    """Up to nine shapes, each in a place of its own."""
    cells = rng.sample([(x, y) for x in range(3) for y in range(3)], len(wanted))
    items = [
        Item(shape, color, (x + 0.5) / 3 + rng.uniform(-0.03, 0.03), (y + 0.5) / 3 + rng.uniform(-0.03, 0.03), 0.11)
        for (shape, color), (x, y) in zip(wanted, cells, strict=True)
    ]
    return Scene(tuple(items), on or ground(rng), rng.choice((384, 512)))


def chart(rng: random.Random, lying: bool = False) -> Chart:
    """Three to five bars of different colours and clearly different heights."""
    count = rng.choice((3, 4, 5))
    heights = rng.sample([0.15, 0.32, 0.49, 0.66, 0.83, 1.0], count)
    return Chart(tuple(rng.sample(tuple(COLORS), count)), tuple(heights), lying, rng.random() < 0.5)


def shown_chart(rng: random.Random, bars: Chart) -> bytes:
    """The chart, drawn by either tool."""
    return draw_chart(bars, tool(rng))


def named(rng: random.Random, item: Item) -> str:
    """The shape by its name, with its colour or without."""
    return rng.choice((item.shape, f"{item.color} {item.shape}"))


def color_rule(color: str, known: Sequence[str] = (), one_word: bool = False) -> Choice:
    """This colour and no other one, apart from those that the question itself names."""
    return Choice((color,), tuple(name for name in COLORS if name != color and name not in known), one_word)


def shape_rule(shape: str, known: Sequence[str] = (), one_word: bool = False) -> Choice:
    """This shape and no other one, apart from those that the question itself names."""
    others = tuple(name for name in SHAPES if name != shape and name not in known)
    return Choice((shape, plural(shape)), (*others, *map(plural, others)), one_word)


def item_rule(item: Item, known: Sequence[str] = ()) -> Choice:
    """The shape or its colour, and no word that is untrue of it."""
    words = (*SHAPES, *COLORS)
    others = tuple(word for word in words if word not in (item.shape, item.color) and word not in known)
    return Choice((item.shape, item.color), others)


def another(rng: random.Random, of: Sequence[str], *without: str) -> str:
    """A word of the list that is none of these."""
    return rng.choice([word for word in of if word not in without])
