"""Questions about shapes: colours, kinds, numbers, places."""

import random
from collections import Counter
from collections.abc import Iterable

from training import marks
from training.colours import COLOURS
from training.facts import NUMBERS, Found, Table, article, called, capital, listing, other, plural, there_are
from training.scene import Scene, Shape, Writing
from training.shapes import KINDS

MOST_LISTED = 5  # shapes; more are only counted
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
SIZE_WORDS = {"largest": ("largest", "biggest"), "smallest": ("smallest", "littlest")}
PLACES = (
    "in the middle", "at the left", "at the right", "at the top", "at the bottom",
    "at the top left", "at the top right", "at the bottom left", "at the bottom right",
)  # fmt: skip
NOT_SHOWN = "I do not know. The picture does not show that."


def in_order(scene: Scene) -> list[Shape]:
    """From left to right."""
    return sorted(scene.shapes, key=lambda shape: shape.centre[0])


def _unique(scene: Scene) -> list[Shape]:
    """The shapes that are the only ones of their kind."""
    kinds = Counter(shape.kind for shape in scene.shapes)
    return [shape for shape in scene.shapes if kinds[shape.kind] == 1]


def _choice(rng: random.Random, shapes: list[Shape]) -> Shape | None:
    return rng.choice(shapes) if shapes else None


def mark(scene: Scene, shape: Shape, picture: int = 0) -> str:
    """The mark of the shape in a question or an answer; see marks.py."""
    return marks.shape(scene.shapes.index(shape), picture)


def _colour_of_shape(rng: random.Random, scene: Scene) -> Found | None:
    if rng.random() < 0.06:
        kind = other(rng, KINDS, (shape.kind for shape in scene.shapes))
        return Found({"name": called(rng, kind) + marks.NOTHING}, f"There is no {kind} in the picture.")
    if not (shape := _choice(rng, _unique(scene))):
        return None
    return Found({"name": called(rng, shape.kind) + mark(scene, shape)}, f"The {shape.kind} is {shape.colour}.")


def _shape_of_colour(rng: random.Random, scene: Scene) -> Found | None:
    colours = Counter(shape.colour for shape in scene.shapes)
    if rng.random() < 0.06:
        colour = other(rng, COLOURS, [*colours, scene.background])
        return Found({"name": colour + marks.NOTHING}, f"There is no {colour} shape in the picture.")
    if not (shape := _choice(rng, [shape for shape in scene.shapes if colours[shape.colour] == 1])):
        return None
    return Found({"name": shape.colour + mark(scene, shape)}, f"The {shape.colour} shape is {article(shape.kind)}.")


def _shapes(rng: random.Random, scene: Scene) -> Found | None:
    if not scene.shapes:
        return Found({}, "There are no shapes in the picture.")
    if len(scene.shapes) > MOST_LISTED:
        return None
    return Found({}, f"There is {listing(mark(scene, shape) + article(shape.kind) for shape in in_order(scene))}.")


def _colours(rng: random.Random, scene: Scene) -> Found:
    if not scene.shapes and not scene.writings:
        return Found({}, f"The picture is plain {scene.background}.")
    if not scene.shapes:
        return Found({}, f"The text is {listing(scene.ink_colours)}.")
    seen = {shape.colour: mark(scene, shape) for shape in reversed(in_order(scene))}
    names = (marked + colour for colour, marked in reversed(seen.items()))
    return Found({}, f"The {'shape is' if len(scene.shapes) == 1 else 'shapes are'} {listing(names)}.")


def _background(rng: random.Random, scene: Scene) -> Found:
    return Found({}, f"The background is {scene.background}.")


def a_thing(scene: Scene, shape: Shape, picture: int = 0) -> str:
    """The shape by colour and kind, marked."""
    return mark(scene, shape, picture) + article(f"{shape.colour} {shape.kind}")


def describe(scene: Scene, picture: int = 0) -> str:
    things = [a_thing(scene, shape, picture) for shape in in_order(scene)]
    if len(things) > MOST_LISTED:
        things = [f"{NUMBERS[len(things)]} shapes"]
    if scene.writings:
        sort = "number" if scene.text.isdigit() else "text" if " " in scene.text else "word"
        things.append(f'the {sort} "{marks.reading(scene.text, 0)}" in {listing(scene.ink_colours)}')
    if not things:
        return f"A plain {scene.background} picture."
    return capital(f"{listing(things)} on {article(scene.background)} background.")


def _describe(rng: random.Random, scene: Scene) -> Found:
    return Found({}, describe(scene))


def _count(rng: random.Random, scene: Scene) -> Found:
    return Found({}, there_are(len(scene.shapes), "shape"))


def _count_of(rng: random.Random, scene: Scene) -> Found:
    if rng.random() < 0.6:
        kind = rng.choice([*(shape.kind for shape in scene.shapes), rng.choice(list(KINDS))])
        number = sum(shape.kind == kind for shape in scene.shapes)
        return Found({"names": plural(kind) + marks.of_kind(number)}, there_are(number, kind))
    colour = rng.choice([*(shape.colour for shape in scene.shapes), rng.choice(list(COLOURS))])
    number = sum(shape.colour == colour for shape in scene.shapes)
    return Found({"names": f"{colour} shapes{marks.of_colour(number)}"}, there_are(number, f"{colour} shape"))


def _exists(rng: random.Random, scene: Scene) -> Found:
    """In each form half of the answers are yes; a missing thing differs from a shape in one attribute only."""
    shape = rng.choice(scene.shapes) if scene.shapes else None
    kind, colour = (shape.kind, shape.colour) if shape else (rng.choice(list(KINDS)), rng.choice(list(COLOURS)))
    form = rng.choice(("both", "both", "kind", "colour"))
    if rng.random() < 0.5:
        if form == "kind" or (form == "both" and rng.random() < 0.5):
            kind = other(rng, KINDS, (shape.kind for shape in scene.shapes if form == "kind" or shape.colour == colour))
        else:
            taken = (shape.colour for shape in scene.shapes if form == "colour" or shape.kind == kind)
            colour = other(rng, COLOURS, taken)
    matches = [
        s for s in scene.shapes if (form == "colour" or s.kind == kind) and (form == "kind" or s.colour == colour)
    ]
    name = {"both": f"{colour} {kind}", "kind": kind, "colour": f"{colour} shape"}[form]
    answer = f"Yes, there is {article(name)}." if matches else f"No, there is no {name}."
    marked = marks.NOTHING if not matches else mark(scene, matches[0]) if len(matches) == 1 else ""
    return Found({"a_name": article(name) + marked, "names": plural(name) + marked}, answer)


def _wrong(rng: random.Random, names: Iterable[str], right: str, seen: Iterable[str]) -> str:
    """A wrong name, in half of the cases one that another shape of the picture has.

    So a model that only checks whether the name occurs in the picture is not right by chance.
    """
    elsewhere = [name for name in seen if name != right]
    return rng.choice(elsewhere) if elsewhere and rng.random() < 0.5 else other(rng, names, [right])


def _is_colour(rng: random.Random, scene: Scene) -> Found | None:
    if not (shape := _choice(rng, _unique(scene))):
        return None
    guess = shape.colour if rng.random() < 0.5 else _wrong(rng, COLOURS, shape.colour, (s.colour for s in scene.shapes))
    is_right = guess == shape.colour
    answer = f"{'Yes' if is_right else 'No'}, the {shape.kind} is {shape.colour}."
    told = marks.compared("guess", int(is_right))
    return Found({"name": called(rng, shape.kind) + mark(scene, shape) + told, "guess": guess + told}, answer)


def _is_shape(rng: random.Random, scene: Scene) -> Found | None:
    colours = Counter(shape.colour for shape in scene.shapes)
    if not (shape := _choice(rng, [shape for shape in scene.shapes if colours[shape.colour] == 1])):
        return None
    guess = shape.kind if rng.random() < 0.5 else _wrong(rng, KINDS, shape.kind, (s.kind for s in scene.shapes))
    is_right = guess == shape.kind
    answer = f"{'Yes' if is_right else 'No'}, the {shape.colour} shape is {article(shape.kind)}."
    told = marks.compared("guess", int(is_right))
    return Found({"name": shape.colour + mark(scene, shape) + told, "a_guess": article(guess) + told}, answer)


def _third(share: float) -> int | None:
    """0, 1 or 2 for the first, middle and last third; None too near to a border to be sure."""
    return next((i for i, (low, high) in enumerate(((0, 0.3), (0.37, 0.63), (0.7, 1))) if low <= share <= high), None)


def place_of(scene: Scene, thing: Shape | Writing) -> str | None:
    """Where in the picture the thing's centre is, in words; None if two places would be right.

    The model gets the picture on a white square. If the background is white, too, the edges of the picture are not
    visible, so the place must be the same relative to the square.
    """
    place = _place(scene.width, scene.height, *thing.centre)
    if scene.background != "white":
        return place
    side = max(scene.width, scene.height)
    x, y = thing.centre[0] + (side - scene.width) / 2, thing.centre[1] + (side - scene.height) / 2
    return place if place == _place(side, side, x, y) else None


def _place(width: float, height: float, x: float, y: float) -> str | None:
    column, row = _third(x / width), _third(y / height)
    if column is None or row is None:
        return None
    if column == row == 1:
        return "in the middle"
    if row == 1:
        return f"at the {('left', '', 'right')[column]}"
    return f"at the {('top', '', 'bottom')[row]} {('left', '', 'right')[column]}".rstrip()


def _where(rng: random.Random, scene: Scene) -> Found | None:
    if not (shape := _choice(rng, _unique(scene))) or not (place := place_of(scene, shape)):
        return None
    return Found({"name": called(rng, shape.kind) + mark(scene, shape)}, f"The {shape.kind} is {place}.")


def _layout(rng: random.Random, scene: Scene) -> Found | None:
    """Where each shape is."""
    places = [place_of(scene, shape) for shape in in_order(scene)]
    if not 0 < len(places) <= MOST_LISTED or None in places:
        return None
    things = (
        f"{'the' if number else 'The'} {mark(scene, shape)}{shape.colour} {shape.kind} is {place}"
        for number, (shape, place) in enumerate(zip(in_order(scene), places, strict=True))
    )
    return Found({}, f"{listing(things)}.")


def holds(scene: Scene, shape: Shape, relation: str, second: Shape) -> bool | None:
    """Whether the relation holds; None if the two are level."""
    axis = 0 if relation in ("left of", "right of") else 1
    apart = (shape.centre[axis] - second.centre[axis]) / (scene.width, scene.height)[axis]
    return None if abs(apart) < 0.12 else (apart < 0) == (relation in ("left of", "above"))


def _compared(scene: Scene, shape: Shape, second: Shape) -> str:
    """Marks for where the second is, relative to the shape; none along an axis on which they are level."""
    truths = {"beside": holds(scene, second, "right of", shape), "under": holds(scene, second, "below", shape)}
    return "".join(marks.compared(name, int(truth)) for name, truth in truths.items() if truth is not None)


def _relation(rng: random.Random, scene: Scene) -> Found | None:
    unique = _unique(scene)
    if len(unique) < 2:
        return None
    shape, second = rng.sample(unique, 2)
    relation = rng.choice(list(OPPOSITE))
    if (truth := holds(scene, shape, relation, second)) is None:
        return None
    words = {
        "name": shape.kind + mark(scene, shape),
        "other": second.kind + mark(scene, second) + _compared(scene, shape, second),
        "relation": rng.choice(RELATION_WORDS[relation]),
    }
    stated = relation if truth else OPPOSITE[relation]
    return Found(words, f"{'Yes' if truth else 'No'}, the {shape.kind} is {stated} the {second.kind}.")


def _neighbour(rng: random.Random, scene: Scene) -> Found | None:
    if not (second := _choice(rng, _unique(scene))) or len(scene.shapes) < 2:
        return None
    relation = rng.choice(list(OPPOSITE))
    truths = {shape: holds(scene, shape, relation, second) for shape in scene.shapes if shape is not second}
    there = [shape for shape, truth in truths.items() if truth]
    if None in truths.values() or len(there) > 1:
        return None
    words = {"other": second.kind + mark(scene, second), "relation": rng.choice(RELATION_WORDS[relation])}
    return Found(words, capital(f"{_one_or_nothing(scene, there)} is {relation} the {second.kind}."))


def _one_or_nothing(scene: Scene, there: list[Shape]) -> str:
    return a_thing(scene, there[0]) if there else f"{marks.NOTHING}nothing"


def _extreme(rng: random.Random, scene: Scene) -> Found | None:
    size = rng.choice(list(SIZE_WORDS))
    ranked = sorted(scene.shapes, key=lambda shape: shape.area, reverse=size == "largest")
    if len(ranked) < 2 or not min(ranked[0].area / ranked[1].area, ranked[1].area / ranked[0].area) < 1 / 1.6:
        return None
    marked = mark(scene, ranked[0])
    answer = f"The {marked}{ranked[0].colour} {ranked[0].kind} is the {size}."
    return Found({"size": rng.choice(SIZE_WORDS[size]) + marked}, answer)


def _at_place(rng: random.Random, scene: Scene) -> Found | None:
    """What is at the top left, ...: asked only if each shape's place is certain and at most one is there."""
    places = {shape: place_of(scene, shape) for shape in scene.shapes}
    if None in places.values() or not places or scene.writings:
        return None
    place = rng.choice([*places.values(), rng.choice(PLACES)])
    there = [shape for shape, its in places.items() if its == place]
    if len(there) > 1:
        return None
    asked = str(place).replace("at", rng.choice(("at", "on", "in")), 1)
    meant = mark(scene, there[0]) if there else marks.NOTHING
    return Found({"place": asked + meant}, capital(f"{_one_or_nothing(scene, there)} is {place}."))


def _unknown(rng: random.Random, scene: Scene) -> Found:
    return Found({}, NOT_SHOWN)


SHAPE_QUESTIONS: Table = {
    "colour_of_shape": (4, _colour_of_shape),
    "shape_of_colour": (4, _shape_of_colour),
    "shapes": (6, _shapes),
    "colours": (10, _colours),
    "background": (0.7, _background),
    "describe": (5, _describe),
    "count": (5, _count),
    "count_of": (8, _count_of),
    "exists": (5, _exists),
    "is_colour": (5, _is_colour),
    "is_shape": (5, _is_shape),
    "where": (6, _where),
    "layout": (4, _layout),
    "at_place": (8, _at_place),
    "relation": (10, _relation),
    "neighbour": (6, _neighbour),
    "extreme": (2, _extreme),
    "unknown": (1, _unknown),
}
