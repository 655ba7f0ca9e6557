"""Chooses questions about a scene from the tables of its sort of picture, and phrases them.

Knows nothing of tokens or pixels.
"""

import random
import re
from collections.abc import Callable, Collection
from functools import partial

from training import marks
from training.chart_questions import CHART_QUESTIONS
from training.colours import COLOURS
from training.comparisons import COMPARISONS
from training.facts import NUMBERS, Found, Table, article, called, listing, plural
from training.phrases import PHRASES, PREFIXES, RAW, SOFT_WORDS, SUFFIXES, WORDS
from training.scene import Scene
from training.shape_questions import OPPOSITE, PLACES, RELATION_WORDS, SHAPE_QUESTIONS, SIZE_WORDS
from training.shapes import KINDS
from training.sort_questions import A_PHOTO, ASKED, SORT_QUESTIONS
from training.text_questions import TEXT_QUESTIONS, quoted
from training.writing import words

Asked = tuple[str, str]  # a question and its answer
SAID = (RAW, *COLOURS, *KINDS, *NUMBERS, RELATION_WORDS, SIZE_WORDS, PLACES)
KNOWN_WORDS = frozenset(re.findall(r"[a-z]+", str(SAID).lower()))
TYPED_WORD = re.compile(r"\b[A-Za-z]{3,}\b")
FOREIGN_WORDS = tuple(word for word in words() if word not in KNOWN_WORDS)  # that no question uses


def _photo_colours(rng: random.Random, scene: Scene) -> Found:
    """The main colours, which are all that can be said of a photograph."""
    names = scene.photo_colours
    colours = f"Its main colour{' is' if len(names) == 1 else 's are'} {listing(names)}."
    return Found({}, f"{A_PHOTO} {colours}", rng.choice(("describe", "describe", "colours", "background", "unknown")))


def _photo_other(rng: random.Random, scene: Scene) -> Found:
    """Any other question, one that would suit a drawing; the answer refuses."""
    kind = rng.choice([kind for kind in DRAWING_QUESTIONS if kind not in ("describe", "colours", "background")])
    return Found(any_fill(rng), A_PHOTO, kind if kind != "no_chart" else "tallest")


PHOTO_QUESTIONS: Table = {"photo_colours": (3, _photo_colours), "photo_other": (2, _photo_other)}
NAMING = ("name", "names", "label")  # slots for the subject of a question
MISTYPED_SHARE = 0.2  # of the questions to train on
BY_BARE_NAME = ("value_of", "bar_colour")
FOLLOWED_UP: Table = {  # kinds that the next turn can repeat by only naming something else
    kind: table[kind]
    for table, kinds in (
        (SHAPE_QUESTIONS, ("colour_of_shape", "where", "count_of")),
        (CHART_QUESTIONS, BY_BARE_NAME),
    )
    for kind in kinds
}
LEANED_ON: dict[str, tuple[str, ...]] = {  # kinds of second turn, and the kinds that can come before each
    "follow_up": tuple(FOLLOWED_UP),
    "of_it": ("where", "colour_of_shape", "shape_of_colour", "is_colour", "is_shape", "exists", "at_place", "extreme"),
}
OF_IT = {"where": "where_of_it", "colour_of_shape": "colour_of_it", "shape_of_colour": "shape_of_it"}
PRONOUNS = ("it", "it", "it", "it", "that", "that one", "this one", "that shape", "this shape")
DRAWING_QUESTIONS: Table = SHAPE_QUESTIONS | TEXT_QUESTIONS
# There are few other questions about pictures of only writing.
SELDOM_ASKED: Table = {kind: (weight / 4, find) for kind, (weight, find) in SHAPE_QUESTIONS.items()}
WRITING_QUESTIONS: Table = SELDOM_ASKED | TEXT_QUESTIONS
PICTURE_QUESTIONS: Table = DRAWING_QUESTIONS | SORT_QUESTIONS | CHART_QUESTIONS | PHOTO_QUESTIONS


def any_fill(rng: random.Random) -> dict[str, str]:
    """A value for every slot, for questions about things that are not shown."""
    kind, colour = rng.choice(list(KINDS)), rng.choice(list(COLOURS))
    ordinal, fuller = rng.sample(("first", "second"), 2)
    return {
        "name": rng.choice((kind, kind, colour)), "other": rng.choice(list(KINDS)), "guess": colour,
        "a_guess": article(kind), "a_name": article(f"{colour} {kind}"), "names": plural(kind),
        "relation": rng.choice(list(OPPOSITE)), "size": rng.choice(list(SIZE_WORDS)), "place": rng.choice(PLACES),
        "label": rng.choice("ABCDE"), "value": str(rng.randint(1, 99)), "ordinal": ordinal, "fuller": fuller,
        "ink": colour, "about": f"the {kind}", "a_sort": article(called(rng, rng.choice(ASKED))),
        "word": quoted(rng, rng.choice(FOREIGN_WORDS)),
    }  # fmt: skip


def table_for(scene: Scene) -> Table:
    """The questions for this sort of picture; the question which sort it is belongs to all sorts."""
    return _own_table(scene) | SORT_QUESTIONS


def _own_table(scene: Scene) -> Table:
    if scene.photo_colours:
        return PHOTO_QUESTIONS
    if scene.chart:
        return CHART_QUESTIONS
    return DRAWING_QUESTIONS if scene.shapes or not scene.writings else WRITING_QUESTIONS


def ask(rng: random.Random, kind: str, scene: Scene, held_out: bool = False) -> Asked | None:
    """A question of the kind and its answer; None when the scene has no certain answer to one."""
    if kind not in table_for(scene):
        return None
    found = PICTURE_QUESTIONS[kind][1](rng, scene)
    return phrase(rng, kind, found, held_out) if found else None


def ask_anything(rng: random.Random, scene: Scene, taken: Collection[str] = ()) -> tuple[str, str, str]:
    """A kind, a question that is not taken yet if there is one, and its answer."""
    table = table_for(scene)
    return _anything(rng, {kind: weight for kind, (weight, _) in table.items()}, partial(ask, rng, scene=scene), taken)


def compare(rng: random.Random, kind: str, scenes: tuple[Scene, ...], held_out: bool = False) -> Asked | None:
    """A question about all of the scenes and its answer; None when they have no certain answer to one."""
    found = COMPARISONS[kind][1](rng, scenes)
    return phrase(rng, kind, found, held_out) if found else None


def compare_anything(
    rng: random.Random, scenes: tuple[Scene, ...], taken: Collection[str] = ()
) -> tuple[str, str, str]:
    """A kind, a question about all of the scenes that is not taken yet if there is one, and its answer."""
    weights = {kind: weight for kind, (weight, _) in COMPARISONS.items()}
    return _anything(rng, weights, partial(compare, rng, scenes=scenes), taken)


def _anything(
    rng: random.Random, weights: dict[str, float], asked_of: Callable[[str], Asked | None], taken: Collection[str]
) -> tuple[str, str, str]:
    for attempt in range(1000):
        kind = rng.choices(list(weights), list(weights.values()))[0]
        asked = asked_of(kind)
        if asked and (asked[0] not in taken or attempt > 20):
            return kind, *asked
    raise AssertionError(f"none of {', '.join(weights)} can be asked about this")


def second_turn(
    rng: random.Random, sort: str, first_kind: str, first: Asked, scene: Scene, held_out: bool = False
) -> Asked | None:
    """A question that only makes sense after the first one and its answer; None when there is no certain one."""
    if sort == "follow_up":
        return follow_up(rng, first_kind, scene, held_out)
    return about_it(rng, scene, first, held_out)


def follow_up(rng: random.Random, kind: str, scene: Scene, held_out: bool = False) -> Asked | None:
    """A question of the kind that names only the new subject ("And the circle?"), and its answer."""
    found = FOLLOWED_UP[kind][1](rng, scene)
    names = [value for slot, value in found.fill.items() if slot in NAMING] if found else []
    if not found or not names:
        return None
    about = names[0] if kind in BY_BARE_NAME else f"the {names[0]}"
    return phrase(rng, "follow_up", Found({"about": about}, found.answer), held_out)


def about_it(rng: random.Random, scene: Scene, before: Asked, held_out: bool = False) -> Asked | None:
    """A question about the shape of the question and answer before ("Where is it?"), and its answer.

    None if those are about no shape or several, or there is no certain answer.
    """
    meant = {mark for mark in marks.MARK.findall("".join(before)) if marks.is_shape(mark)}
    if len(meant) != 1:
        return None
    kind, (mark,) = rng.choice(list(OF_IT)), meant
    for _ in range(20):
        found = SHAPE_QUESTIONS[kind][1](rng, scene)
        if found and mark in found.fill["name"]:
            return phrase(rng, OF_IT[kind], Found({"name": rng.choice(PRONOUNS) + mark}, found.answer), held_out)
    return None


def phrase(rng: random.Random, kind: str, found: Found, held_out: bool = False) -> Asked:
    """Phrases the question. A question in American spelling is answered in American spelling."""
    phrases = PHRASES[found.phrasing or kind]
    template = rng.choice(phrases.held_out) if held_out else _in_other_words(rng, rng.choice(phrases.trained))
    american = rng.random() < 0.5
    slots = {slot: rng.choice(options) for slot, options in WORDS.items()}
    question = template.format(colour="color" if american else "colour", **(slots | found.fill))
    question = marks.compared_once(question[0].upper() + question[1:])
    if american:
        question = question.replace("grey", "gray")
    question = question if held_out else _careless(rng, question)
    is_american = "color" in question.lower() or "gray" in question.lower()
    return question, _in_american(found.answer) if is_american else found.answer


def _in_other_words(rng: random.Random, template: str) -> str:
    """The template, sometimes with one to three foreign words added, or a soft word replaced or removed.

    People use words that no list of phrasings has.
    """
    parts = template.split(" ")
    soft = [place for place, part in enumerate(parts) if part.lower() in SOFT_WORDS]
    if rng.random() < 0.2:
        place = rng.choice((0, rng.randint(0, len(parts))))
        parts[place:place] = rng.choices(FOREIGN_WORDS, k=rng.choice((1, 1, 2, 3)))
    elif soft and rng.random() < 0.2:
        place = rng.choice(soft)
        parts[place : place + 1] = [rng.choice(FOREIGN_WORDS)] if rng.random() < 0.6 else []
    return " ".join(parts)


def mistyped(rng: random.Random, question: str) -> str:
    """The question with one known word mistyped; words that pictures show are not changed.

    A letter is missing or doubled, two letters are exchanged, or the space after the word is missing. Unknown words are
    tokenized letter by letter. So the model also learns to spell known words and to recognise similar ones.
    """
    words = [found for found in TYPED_WORD.finditer(question) if found[0].lower() in KNOWN_WORDS]
    typed = [found for found in words if not question.startswith(marks.READ, found.end())]
    if not typed:
        return question
    found = rng.choice(typed)
    word, at = found[0], rng.randrange(len(found[0]) - 1)
    before, after = question[: found.start()], question[found.end() :]
    following = re.match(" ([a-z]+)", after)
    if following and following[1] in KNOWN_WORDS and rng.random() < 0.2:
        return before + word + after[1:]
    exchanged = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return before + rng.choice((word[:at] + word[at + 1 :], word[: at + 1] + word[at:], exchanged)) + after


def _in_american(answer: str) -> str:
    return answer.replace("grey", "gray").replace("colour", "color")


def _careless(rng: random.Random, question: str) -> str:
    """The question as people type it: with typing errors, other capitals or added phrases."""
    if rng.random() < MISTYPED_SHARE:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            question = mistyped(rng, question)
    if rng.random() < 0.15 and marks.unmarked(question).isascii():
        start = question if question.startswith("I ") else question[0].lower() + question[1:]
        question = rng.choice(PREFIXES) + rng.choice((start, question))
    if rng.random() < 0.15:
        question = question.rstrip("?.!")
    if rng.random() < 0.15:
        question = question.lower()
    if rng.random() < 0.1:
        question += rng.choice(SUFFIXES)
    return question
