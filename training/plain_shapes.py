"""Questions about shapes as people ask them who know none of the other tables: alternatives, both ways round.

Each has its short answer, too: what one word holds, or a field of JSON (plainly.py).
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from training import marks
from training.colours import COLOURS
from training.facts import NUMBERS, Found, Table, article, other, plural, there_are
from training.scene import Scene, Shape
from training.shape_questions import OPPOSITE, holds, mark, place_of
from training.shapes import KINDS

SIDES = {
    "above": ("above", "over", "on top of", "higher than", "up from"),
    "below": ("below", "under", "underneath", "lower than", "beneath"),
    "left of": ("left of", "to the left of", "on the left of", "on the left side of"),
    "right of": ("right of", "to the right of", "on the right of", "on the right side of"),
}
ALTERNATIVES = {  # two stems, and what follows the last one
    "above": (("above", "below", ""), ("over", "under", ""), ("above", "under", ""), ("higher", "lower", " than")),
    "left of": (
        ("left", "right", " of"),
        ("to the left", "to the right", " of"),
        ("on the left", "on the right", " of"),
    ),
}
FURTHER = {
    "above": ("higher", "higher up", "further up", "nearer to the top"),
    "below": ("lower", "lower down", "further down", "nearer to the bottom"),
    "left of": ("further left", "more to the left", "further to the left", "nearer to the left edge"),
    "right of": ("further right", "more to the right", "further to the right", "nearer to the right edge"),
}
SAID_FURTHER = {"above": "higher", "below": "lower", "left of": "further left", "right of": "further right"}
CLEARLY = 1.6  # of two areas that are compared, the least ratio
LOOSELY = ("shape", "one", "thing", "object")
MISSING_SHARE = 0.08  # of the names: nothing that is shown


Trait = Callable[[Shape], str]  # its kind or its colour


@dataclass(frozen=True)
class _Named:
    """A shape, what a question calls it, and what the answer does."""

    shape: Shape
    asked: str
    said: str


def _named(rng: random.Random, scene: Scene) -> list[_Named]:
    """The shapes that have a name of their own, in any order."""
    kinds, colours = Counter(s.kind for s in scene.shapes), Counter(s.colour for s in scene.shapes)
    both = Counter((s.kind, s.colour) for s in scene.shapes)
    found = []
    for shape in rng.sample(scene.shapes, len(scene.shapes)):
        full, loose = f"{shape.colour} {shape.kind}", f"{shape.colour} {rng.choice(LOOSELY)}"
        ways = [shape.kind, shape.kind, full] * (kinds[shape.kind] == 1)
        ways += [full] * 2 * (both[shape.kind, shape.colour] == 1) + [loose] * (colours[shape.colour] == 1)
        if ways:
            said = shape.kind if kinds[shape.kind] == 1 else full if both[shape.kind, shape.colour] == 1 else loose
            found.append(_Named(shape, rng.choice(ways) + mark(scene, shape), said))
    return found


def _missing(rng: random.Random, scene: Scene) -> tuple[str, str]:
    """A name of nothing that is shown, and the answer that says so. Half of them differ in one attribute only."""
    shape = rng.choice(scene.shapes)
    shown = {(s.colour, s.kind) for s in scene.shapes}
    colour = rng.choice(list(COLOURS))
    name = f"{colour} {shape.kind}"
    if (colour, shape.kind) in shown or rng.random() < 0.5:
        name = other(rng, KINDS, (kind for _, kind in shown))
    return name, f"There is no {name} in the picture."


def _two(rng: random.Random, scene: Scene) -> tuple[_Named, _Named] | None:
    named = _named(rng, scene)
    return (named[0], named[1]) if len(named) > 1 else None


def _with_missing(rng: random.Random, scene: Scene, fill: dict[str, str]) -> Found | None:
    if not (named := _named(rng, scene)):
        return None
    missing, answer = _missing(rng, scene)
    names = [missing + marks.NOTHING, named[0].asked]
    rng.shuffle(names)
    return Found({"name": names[0], "other": names[1], **fill}, answer)


def _beside(scene: Scene, first: Shape, second: Shape) -> str:
    truths = {"beside": holds(scene, second, "right of", first), "under": holds(scene, second, "below", first)}
    return "".join(marks.compared(name, int(truth)) for name, truth in truths.items() if truth is not None)


def _which_side(rng: random.Random, scene: Scene) -> Found | None:
    relation = rng.choice(list(ALTERNATIVES))
    *stems, behind = rng.choice(ALTERNATIVES[relation])
    one, two = rng.sample(stems, 2)
    one, two = one + behind * (rng.random() < 0.3), two + behind
    if rng.random() < MISSING_SHARE:
        return _with_missing(rng, scene, {"one": one, "two": two})
    if not (pair := _two(rng, scene)):
        return None
    first, second = pair
    if (truth := holds(scene, first.shape, relation, second.shape)) is None:
        return None
    stated = relation if truth else OPPOSITE[relation]
    fill = {
        "name": first.asked,
        "other": second.asked + _beside(scene, first.shape, second.shape),
        "one": one,
        "two": two,
    }
    return Found(fill, f"The {first.said} is {stated} the {second.said}.", short=stated.removesuffix(" of"))


def _on_side(rng: random.Random, scene: Scene) -> Found | None:
    relation = rng.choice(list(OPPOSITE))
    words = rng.choice(SIDES[relation])
    if rng.random() < MISSING_SHARE:
        return _with_missing(rng, scene, {"relation": words})
    if not (pair := _two(rng, scene)):
        return None
    first, second = pair
    if (truth := holds(scene, first.shape, relation, second.shape)) is None:
        return None
    stated = relation if truth else OPPOSITE[relation]
    fill = {"name": first.asked, "other": second.asked + _beside(scene, first.shape, second.shape), "relation": words}
    answer = f"{'Yes' if truth else 'No'}, the {first.said} is {stated} the {second.said}."
    return Found(fill, answer, short=truth)


def _which_further(rng: random.Random, scene: Scene) -> Found | None:
    if not (pair := _two(rng, scene)):
        return None
    first, second = pair
    relation = rng.choice(list(OPPOSITE))
    if (truth := holds(scene, first.shape, relation, second.shape)) is None:
        return None
    best = first if truth else second
    fill = {"name": first.asked, "other": second.asked + _beside(scene, first.shape, second.shape)}
    answer = f"The {mark(scene, best.shape)}{best.said} is {SAID_FURTHER[relation]}."
    return Found({**fill, "more": rng.choice(FURTHER[relation])}, answer, short=mark(scene, best.shape) + best.said)


def _which_bigger(rng: random.Random, scene: Scene) -> Found | None:
    if not (pair := _two(rng, scene)):
        return None
    larger = rng.random() < 0.6
    ranked = sorted(pair, key=lambda one: one.shape.area, reverse=larger)
    ratio = ranked[0].shape.area / ranked[1].shape.area
    if 1 / CLEARLY < ratio < CLEARLY:
        return None
    words = rng.choice(("bigger", "larger")) if larger else "smaller"
    said = "larger" if larger else "smaller"
    best, marked = ranked[0], mark(scene, ranked[0].shape)
    fill = {"name": pair[0].asked, "other": pair[1].asked, "more": words}
    return Found(fill, f"The {marked}{best.said} is {said}.", short=marked + best.said)


def _kind(shape: Shape) -> str:
    return shape.kind


def _colour(shape: Shape) -> str:
    return shape.colour


def _alone(scene: Scene, trait: Trait) -> list[Shape]:
    """The shapes that no other one shares the trait with."""
    counts = Counter(map(trait, scene.shapes))
    return [shape for shape in scene.shapes if counts[trait(shape)] == 1]


def _own_and_wrong(rng: random.Random, scene: Scene, shape: Shape, trait: Trait, known: Iterable[str]) -> list[str]:
    """The shape's trait and one that it does not have, in any order. Half of the wrong ones are another shape's."""
    elsewhere = [trait(one) for one in scene.shapes if trait(one) != trait(shape)]
    wrong = rng.choice(elsewhere) if elsewhere and rng.random() < 0.5 else other(rng, known, [trait(shape)])
    return rng.sample((trait(shape), wrong), 2)


def _colour_or(rng: random.Random, scene: Scene) -> Found | None:
    if not (alone := _alone(scene, _kind)):
        return None
    shape = rng.choice(alone)
    one, two = _own_and_wrong(rng, scene, shape, _colour, COLOURS)
    name = shape.kind + mark(scene, shape)
    return Found({"name": name, "one": one, "two": two}, f"The {shape.kind} is {shape.colour}.", short=shape.colour)


def _kind_or(rng: random.Random, scene: Scene) -> Found | None:
    if not (alone := _alone(scene, _colour)):
        return None
    shape = rng.choice(alone)
    one, two = map(article, _own_and_wrong(rng, scene, shape, _kind, KINDS))
    name = f"{shape.colour} {rng.choice(LOOSELY)}{mark(scene, shape)}"
    said = f"The {shape.colour} shape is {article(shape.kind)}."
    return Found({"name": name, "one": one, "two": two}, said, short=shape.kind)


def _colour_of(rng: random.Random, scene: Scene) -> Found | None:
    if scene.shapes and rng.random() < MISSING_SHARE:
        name, answer = _missing(rng, scene)
        return Found({"name": name + marks.NOTHING}, answer)
    if not (alone := _alone(scene, _kind)):
        return None
    shape = rng.choice(alone)
    return Found({"name": shape.kind + mark(scene, shape)}, f"The {shape.kind} is {shape.colour}.", short=shape.colour)


def _kind_of(rng: random.Random, scene: Scene) -> Found | None:
    if not (alone := _alone(scene, _colour)):
        return None
    shape = rng.choice(alone)
    said = f"The {shape.colour} shape is {article(shape.kind)}."
    return Found({"name": shape.colour + mark(scene, shape)}, said, short=shape.kind)


def _place_of(rng: random.Random, scene: Scene) -> Found | None:
    named = _named(rng, scene)
    if not named or not (place := place_of(scene, named[0].shape)):
        return None
    short = place.removeprefix("at the ").removeprefix("in the ")
    return Found({"name": named[0].asked}, f"The {named[0].said} is {place}.", short=short)


def _there_is(rng: random.Random, scene: Scene) -> Found | None:
    """Half of the answers are yes; the others share a colour or a kind with what is shown."""
    if not scene.shapes:
        return None
    shape = rng.choice(scene.shapes)
    kind, colour = shape.kind, shape.colour
    if rng.random() < 0.5:
        if rng.random() < 0.5:
            colour = other(rng, COLOURS, (s.colour for s in scene.shapes if s.kind == kind))
        else:
            kind = other(rng, KINDS, (s.kind for s in scene.shapes if s.colour == colour))
    there = [s for s in scene.shapes if (s.kind, s.colour) == (kind, colour)]
    name = f"{colour} {kind}"
    marked = marks.NOTHING if not there else mark(scene, there[0]) if len(there) == 1 else ""
    answer = f"Yes, there is {article(name)}." if there else f"No, there is no {name}."
    return Found({"a_name": article(name) + marked, "name": name + marked, "names": plural(name) + marked}, answer,
                 short=bool(there))  # fmt: skip


def _how_many(rng: random.Random, scene: Scene) -> Found | None:
    if not scene.shapes:
        return None
    shape = rng.choice(scene.shapes)
    kind, colour = shape.kind, shape.colour
    if rng.random() < 0.15:
        kind, colour = rng.choice(list(KINDS)), rng.choice(list(COLOURS))
    sort = rng.choice(("kind", "colour", "both", "all"))
    meant = [s for s in scene.shapes if (sort in ("colour", "all") or s.kind == kind)]
    meant = [s for s in meant if sort in ("kind", "all") or s.colour == colour]
    name = {"kind": kind, "colour": f"{colour} shape", "both": f"{colour} {kind}", "all": "shape"}[sort]
    word = rng.choice(("shape", "shape", "thing", "object", "item"))
    asked = {"kind": kind, "colour": f"{colour} {word}", "both": f"{colour} {kind}", "all": word}[sort]
    told = {"kind": marks.of_kind, "colour": marks.of_colour}.get(sort)
    return Found(
        {"names": plural(asked) + (told(len(meant)) if told else "")}, there_are(len(meant), name), short=len(meant)
    )


def _that_many(rng: random.Random, scene: Scene) -> Found | None:
    found = _how_many(rng, scene)
    if not found or not isinstance(found.short, int) or not 0 < found.short < 10:
        return None
    guess = found.short if rng.random() < 0.5 else max(1, found.short + rng.choice((-2, -1, 1, 2)))
    if guess == 1:
        return None
    is_right = guess == found.short
    answer = f"{'Yes' if is_right else 'No'}, {found.answer[0].lower()}{found.answer[1:]}"
    said = NUMBERS[min(guess, 10)] if rng.random() < 0.6 else str(min(guess, 10))
    return Found({**found.fill, "guess": said}, answer, short=is_right)


def _same_colour(rng: random.Random, scene: Scene) -> Found | None:
    if len(alone := _alone(scene, _kind)) < 2:
        return None
    one, two = rng.sample(alone, 2)
    fill = {"name": one.kind + mark(scene, one), "other": two.kind + mark(scene, two)}
    if one.colour == two.colour:
        return Found(fill, f"Yes, both are {one.colour}.", short=True)
    return Found(fill, f"No, the {one.kind} is {one.colour} and the {two.kind} is {two.colour}.", short=False)


PLAIN_SHAPES: Table = {
    "plain_side": (8, _which_side), "plain_relation": (8, _on_side), "plain_further": (4, _which_further),
    "plain_bigger": (2, _which_bigger), "plain_colour_or": (4, _colour_or), "plain_kind_or": (4, _kind_or),
    "plain_colour": (5, _colour_of), "plain_kind": (4, _kind_of), "plain_place": (4, _place_of),
    "plain_exists": (7, _there_is), "plain_count": (9, _how_many), "plain_that_many": (2, _that_many),
    "plain_same": (4, _same_colour),
}  # fmt: skip
