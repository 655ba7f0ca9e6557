"""Questions about a scene with the one right answer, and conversations made of them.

`PICTURE_QUESTIONS` is the table of what can be asked: a name (the key of its phrasings), how often it is asked, and a
function that finds a question with a certain answer in a scene, or None where the scene offers none. It knows nothing
of tokens or pixels.
"""

import random
import string
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from training.phrases import JUMBLE, PHRASES, PREFIXES, SUFFIXES, SYNONYMS, SYSTEMS, WORDS
from training.scene import COLOURS, KINDS, Scene, Shape

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
SIZE_WORDS = {"largest": ("largest", "biggest"), "smallest": ("smallest", "littlest")}
CHAT_ANSWERS = {
    "greeting": "Hello! Show me a picture and ask me about its shapes and colours.",
    "ability": "I am foveal-mini, a small vision model. I can name, count and place the shapes in a picture and tell "
    "their colours.",
    "thanks": "You are welcome.",
    "goodbye": "Goodbye!",
}
NOT_SHOWN = "I do not know. The picture does not show that."
NOT_KNOWN = "I do not know. I can only answer questions about shapes and colours in pictures."
NO_PICTURE = "I see no picture. Please send one with your question."
NOT_UNDERSTOOD = "I do not understand. Please ask about the shapes and colours in a picture."


@dataclass(frozen=True)
class Found:
    """A question that a scene can answer: what its phrasing is filled with, and the answer."""

    fill: dict[str, str]
    answer: str


@dataclass(frozen=True)
class Turn:
    kind: str
    question: str
    answer: str
    picture: Scene | None = None  # shown with this turn
    picture_first: bool = True


@dataclass(frozen=True)
class Conversation:
    system: str | None
    turns: tuple[Turn, ...]


Finder = Callable[[random.Random, Scene], Found | None]


def article(name: str) -> str:
    return ("an " if name[0] in "aeiou" else "a ") + name


def listing(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def in_order(scene: Scene) -> list[Shape]:
    """From left to right."""
    return sorted(scene.shapes, key=lambda shape: shape.centre[0])


def _unique(scene: Scene) -> list[Shape]:
    """The shapes that are the only ones of their kind."""
    kinds = Counter(shape.kind for shape in scene.shapes)
    return [shape for shape in scene.shapes if kinds[shape.kind] == 1]


def _choice(rng: random.Random, shapes: list[Shape]) -> Shape | None:
    return rng.choice(shapes) if shapes else None


def _other(rng: random.Random, names: Iterable[str], taken: Iterable[str]) -> str:
    return rng.choice([name for name in names if name not in set(taken)])


def _called(rng: random.Random, kind: str) -> str:
    return rng.choice(SYNONYMS.get(kind, (kind,)))


def _colour_of_shape(rng: random.Random, scene: Scene) -> Found | None:
    if rng.random() < 0.06:
        kind = _other(rng, KINDS, (shape.kind for shape in scene.shapes))
        return Found({"name": _called(rng, kind)}, f"There is no {kind} in the picture.")
    shape = _choice(rng, _unique(scene))
    return Found({"name": _called(rng, shape.kind)}, f"The {shape.kind} is {shape.colour}.") if shape else None


def _shape_of_colour(rng: random.Random, scene: Scene) -> Found | None:
    colours = Counter(shape.colour for shape in scene.shapes)
    if rng.random() < 0.06:
        colour = _other(rng, COLOURS, [*colours, scene.background])
        return Found({"name": colour}, f"There is no {colour} shape in the picture.")
    shape = _choice(rng, [shape for shape in scene.shapes if colours[shape.colour] == 1])
    return Found({"name": shape.colour}, f"The {shape.colour} shape is {article(shape.kind)}.") if shape else None


def _shapes(rng: random.Random, scene: Scene) -> Found:
    if not scene.shapes:
        return Found({}, "There are no shapes in the picture.")
    return Found({}, f"There is {listing(article(shape.kind) for shape in in_order(scene))}.")


def _colours(rng: random.Random, scene: Scene) -> Found:
    if not scene.shapes:
        return Found({}, f"The picture is plain {scene.background}.")
    names = list(dict.fromkeys(shape.colour for shape in in_order(scene)))
    return Found({}, f"The {'shape is' if len(scene.shapes) == 1 else 'shapes are'} {listing(names)}.")


def _background(rng: random.Random, scene: Scene) -> Found:
    return Found({}, f"The background is {scene.background}.")


def describe(scene: Scene) -> str:
    if not scene.shapes:
        return f"A plain {scene.background} picture."
    things = listing(article(f"{shape.colour} {shape.kind}") for shape in in_order(scene))
    return f"{things[0].upper()}{things[1:]} on {article(scene.background)} background."


def _describe(rng: random.Random, scene: Scene) -> Found:
    return Found({}, describe(scene))


def _plural(name: str) -> str:
    return name + ("es" if name.endswith(("s", "x")) else "s")


def _there_are(number: int, name: str) -> str:
    return f"There {'is' if number == 1 else 'are'} {NUMBERS[number]} {name if number == 1 else _plural(name)}."


def _count(rng: random.Random, scene: Scene) -> Found:
    return Found({}, _there_are(len(scene.shapes), "shape"))


def _count_of(rng: random.Random, scene: Scene) -> Found:
    if rng.random() < 0.6:
        kind = rng.choice([*(shape.kind for shape in scene.shapes), rng.choice(list(KINDS))])
        number = sum(shape.kind == kind for shape in scene.shapes)
        return Found({"names": _plural(kind)}, _there_are(number, kind))
    colour = rng.choice([*(shape.colour for shape in scene.shapes), rng.choice(list(COLOURS))])
    number = sum(shape.colour == colour for shape in scene.shapes)
    return Found({"names": f"{colour} shapes"}, _there_are(number, f"{colour} shape"))


def _exists(rng: random.Random, scene: Scene) -> Found:
    """Half of the answers are yes; half of the false ones differ from a shape of the picture in one attribute only."""
    shape = rng.choice(scene.shapes) if scene.shapes else None
    kind, colour = (shape.kind, shape.colour) if shape else (rng.choice(list(KINDS)), rng.choice(list(COLOURS)))
    if rng.random() < 0.55:
        kind, colour = rng.choice(((kind, rng.choice(list(COLOURS))), (rng.choice(list(KINDS)), colour)))
    form = rng.choice(("both", "both", "kind", "colour"))
    matches = [
        s for s in scene.shapes if (form == "colour" or s.kind == kind) and (form == "kind" or s.colour == colour)
    ]
    name = {"both": f"{colour} {kind}", "kind": kind, "colour": f"{colour} shape"}[form]
    answer = f"Yes, there is {article(name)}." if matches else f"No, there is no {name}."
    return Found({"a_name": article(name), "names": _plural(name)}, answer)


def _is_colour(rng: random.Random, scene: Scene) -> Found | None:
    if not (shape := _choice(rng, _unique(scene))):
        return None
    guess = shape.colour if rng.random() < 0.5 else _other(rng, COLOURS, [shape.colour])
    answer = f"{'Yes' if guess == shape.colour else 'No'}, the {shape.kind} is {shape.colour}."
    return Found({"name": _called(rng, shape.kind), "guess": guess}, answer)


def _is_shape(rng: random.Random, scene: Scene) -> Found | None:
    colours = Counter(shape.colour for shape in scene.shapes)
    if not (shape := _choice(rng, [shape for shape in scene.shapes if colours[shape.colour] == 1])):
        return None
    guess = shape.kind if rng.random() < 0.5 else _other(rng, KINDS, [shape.kind])
    answer = f"{'Yes' if guess == shape.kind else 'No'}, the {shape.colour} shape is {article(shape.kind)}."
    return Found({"name": shape.colour, "a_guess": article(guess)}, answer)


def _third(share: float) -> int | None:
    """0, 1 or 2 for the first, middle and last third; None too near to a border to be sure."""
    return next((i for i, (low, high) in enumerate(((0, 0.3), (0.37, 0.63), (0.7, 1))) if low <= share <= high), None)


def place_of(scene: Scene, shape: Shape) -> str | None:
    """Where in the picture the shape's centre lies, in words; None where two places would be right."""
    column, row = _third(shape.centre[0] / scene.width), _third(shape.centre[1] / scene.height)
    if column is None or row is None:
        return None
    if column == row == 1:
        return "in the middle"
    if row == 1:
        return f"on the {('left', '', 'right')[column]}"
    return f"at the {('top', '', 'bottom')[row]} {('left', '', 'right')[column]}".rstrip()


def _where(rng: random.Random, scene: Scene) -> Found | None:
    if not (shape := _choice(rng, _unique(scene))) or not (place := place_of(scene, shape)):
        return None
    return Found({"name": _called(rng, shape.kind)}, f"The {shape.kind} is {place}.")


def holds(scene: Scene, shape: Shape, relation: str, other: Shape) -> bool | None:
    """Whether the shape lies so; None where the two are level."""
    axis = 0 if relation in ("left of", "right of") else 1
    apart = (shape.centre[axis] - other.centre[axis]) / (scene.width, scene.height)[axis]
    return None if abs(apart) < 0.12 else (apart < 0) == (relation in ("left of", "above"))


def _relation(rng: random.Random, scene: Scene) -> Found | None:
    unique = _unique(scene)
    if len(unique) < 2:
        return None
    shape, other = rng.sample(unique, 2)
    relation = rng.choice(list(OPPOSITE))
    if (truth := holds(scene, shape, relation, other)) is None:
        return None
    words = {"name": shape.kind, "other": other.kind, "relation": rng.choice(RELATION_WORDS[relation])}
    stated = relation if truth else OPPOSITE[relation]
    return Found(words, f"{'Yes' if truth else 'No'}, the {shape.kind} is {stated} the {other.kind}.")


def _neighbour(rng: random.Random, scene: Scene) -> Found | None:
    if not (other := _choice(rng, _unique(scene))) or len(scene.shapes) < 2:
        return None
    relation = rng.choice(list(OPPOSITE))
    truths = {shape: holds(scene, shape, relation, other) for shape in scene.shapes if shape is not other}
    there = [shape for shape, truth in truths.items() if truth]
    if None in truths.values() or len(there) > 1:
        return None
    thing = article(f"{there[0].colour} {there[0].kind}") if there else "nothing"
    words = {"other": other.kind, "relation": rng.choice(RELATION_WORDS[relation])}
    return Found(words, f"{thing[0].upper()}{thing[1:]} is {relation} the {other.kind}.")


def _extreme(rng: random.Random, scene: Scene) -> Found | None:
    size = rng.choice(list(SIZE_WORDS))
    ranked = sorted(scene.shapes, key=lambda shape: shape.area, reverse=size == "largest")
    if len(ranked) < 2 or not min(ranked[0].area / ranked[1].area, ranked[1].area / ranked[0].area) < 1 / 1.6:
        return None
    return Found({"size": rng.choice(SIZE_WORDS[size])}, f"The {ranked[0].colour} {ranked[0].kind} is the {size}.")


def _unknown(rng: random.Random, scene: Scene) -> Found:
    return Found({}, NOT_SHOWN)


PICTURE_QUESTIONS: dict[str, tuple[float, Finder]] = {
    "colour_of_shape": (8, _colour_of_shape),
    "shape_of_colour": (8, _shape_of_colour),
    "shapes": (4, _shapes),
    "colours": (3, _colours),
    "background": (1.5, _background),
    "describe": (5, _describe),
    "count": (2, _count),
    "count_of": (1, _count_of),
    "exists": (3, _exists),
    "is_colour": (1.5, _is_colour),
    "is_shape": (1.5, _is_shape),
    "where": (0.6, _where),
    "relation": (0.6, _relation),
    "neighbour": (0.3, _neighbour),
    "extreme": (0.5, _extreme),
    "unknown": (0.8, _unknown),
}


def ask(rng: random.Random, kind: str, scene: Scene, held_out: bool = False) -> tuple[str, str] | None:
    """A question of the kind and its answer; None when the scene has no certain answer to one."""
    found = PICTURE_QUESTIONS[kind][1](rng, scene)
    return phrase(rng, kind, found, held_out) if found else None


def phrase(rng: random.Random, kind: str, found: Found, held_out: bool = False) -> tuple[str, str]:
    """Puts the question into words. An American spelling in the question is answered in kind."""
    phrases = PHRASES[kind]
    template = rng.choice(phrases.held_out if held_out else phrases.trained)
    american = rng.random() < 0.5
    words = {slot: rng.choice(options) for slot, options in WORDS.items()}
    question = template.format(colour="color" if american else "colour", **words, **found.fill)
    question = question[0].upper() + question[1:]
    if american:
        question = question.replace("grey", "gray")
    question = question if held_out else _careless(rng, question)
    is_american = "color" in question.lower() or "gray" in question.lower()
    return question, found.answer.replace("grey", "gray") if is_american else found.answer


def _careless(rng: random.Random, question: str) -> str:
    """The same question as people type it."""
    if rng.random() < 0.08 and question.isascii():
        start = question if question.startswith("I ") else question[0].lower() + question[1:]
        question = rng.choice(PREFIXES) + rng.choice((start, question))
    if rng.random() < 0.12:
        question = question.rstrip("?.!")
    if rng.random() < 0.12:
        question = question.lower()
    if rng.random() < 0.06:
        question += rng.choice(SUFFIXES)
    return question


def _jumble(rng: random.Random) -> str:
    words = [
        rng.choice(JUMBLE)
        if rng.random() < 0.6
        else "".join(rng.choices(string.ascii_letters + string.digits, k=rng.randint(1, 9)))
        for _ in range(rng.randint(1, 7))
    ]
    return " ".join(words) + rng.choice(("", "", "?", "!", "."))


def chat_turn(rng: random.Random, held_out: bool = False) -> Turn:
    """A turn that needs no picture."""
    kind = rng.choices((*CHAT_ANSWERS, "unknown", "jumble"), (4, 5, 2, 1, 3, 2))[0]
    if kind == "jumble":
        return Turn(kind, _jumble(rng), NOT_UNDERSTOOD)
    question, answer = phrase(rng, kind, Found({}, CHAT_ANSWERS.get(kind, NOT_KNOWN)), held_out)
    return Turn(kind, question, answer)


def picture_turn(rng: random.Random, scene: Scene, held_out: bool = False) -> Turn:
    kinds, weights = list(PICTURE_QUESTIONS), [weight for weight, _ in PICTURE_QUESTIONS.values()]
    while True:
        kind = rng.choices(kinds, weights)[0]
        if asked := ask(rng, kind, scene, held_out):
            return Turn(kind, *asked)


def _shown(rng: random.Random, turn: Turn, scene: Scene) -> Turn:
    return Turn(turn.kind, turn.question, turn.answer, scene, rng.random() < 0.8)


def about_scene(rng: random.Random, scene: Scene, num_turns: int) -> list[Turn]:
    turns = [picture_turn(rng, scene) for _ in range(num_turns)]
    if rng.random() < 0.04:
        turns[-1] = chat_turn(rng)
        if turns[-1].kind == "unknown":
            turns[-1] = picture_turn(rng, scene)
    return [_shown(rng, turns[0], scene), *turns[1:]]


def without_picture(rng: random.Random) -> Conversation:
    """Small talk, or a question about a picture that nobody sent."""
    turns = [chat_turn(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    if rng.random() < 0.3:
        kind = rng.choice([kind for kind in PICTURE_QUESTIONS if kind != "unknown"])
        fill = {"name": rng.choice(list(KINDS)), "other": rng.choice(list(KINDS)), "guess": rng.choice(list(COLOURS))}
        if kind in ("shape_of_colour", "is_shape"):
            fill["name"] = rng.choice(list(COLOURS))
        fill |= {
            "a_guess": article(rng.choice(list(KINDS))),
            "a_name": article(fill["name"]),
            "names": _plural(fill["name"]),
        }
        fill |= {"relation": rng.choice(list(OPPOSITE)), "size": rng.choice(list(SIZE_WORDS))}
        turns[-1] = Turn("no_picture", *phrase(rng, kind, Found(fill, NO_PICTURE)))
    return Conversation(_system(rng), tuple(turns))


def with_pictures(rng: random.Random, scenes: list[Scene]) -> Conversation:
    """One to five turns about each scene, each scene shown with its first; now and then small talk comes before."""
    turns: list[Turn] = [chat_turn(rng)] if rng.random() < 0.04 else []
    for scene in scenes:
        turns += about_scene(rng, scene, rng.choice((1, 1, 3, 4, 5)))
    return Conversation(_system(rng), tuple(turns))


def _system(rng: random.Random) -> str | None:
    return rng.choice(SYSTEMS) if rng.random() < 0.25 else None
