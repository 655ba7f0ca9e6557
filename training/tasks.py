"""The tasks of the evaluation, with targets, their held-out samples, and the rule for a right answer.

Pictures come from seeds that training does not use, with fonts and words that it never drew. Questions have held-out
phrasings. Every second picture is drawn by the other library. Knows nothing of how answers are made.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from training.comparisons import COMPARISONS
from training.conversations import CHAT_ANSWERS, a_pair, chat_turn
from training.facts import QUOTED
from training.marks import unmarked
from training.questions import LEANED_ON, Asked, ask, compare, second_turn
from training.scene import Scene, draw
from training.scenes import make_scene
from training.second import draw_again
from training.sort_questions import SORT_QUESTIONS

SAME_SHARE, GONE_SHARE = 0.2, 0.35  # of pairs of similar pictures
SEED = 20261124  # training draws from seeds of 32 random bits in another stream


@dataclass(frozen=True)
class Sample:
    task: str
    kind: str
    question: str
    answer: str
    scenes: tuple[Scene, ...] = ()
    is_drawn_again: bool = False  # by the second library
    before: Asked | None = None  # the turn before, which shows the pictures

    @property
    def said(self) -> list[str]:
        """All messages before the answer."""
        return [*(self.before or ()), self.question]

    @property
    def pictures(self) -> list[Image.Image]:
        return [(draw_again if self.is_drawn_again else draw)(scene) for scene in self.scenes]


@dataclass(frozen=True)
class Task:
    name: str
    target: float  # share of right answers; 0.0: none was set
    kinds: tuple[str, ...]  # of questions, in turn
    scenes: tuple[str, ...]  # kinds of scene, in turn
    is_meant: Callable[[Scene, str], bool] = lambda scene, answer: True  # for scene and answer


def _is_yes_or_no(scene: Scene, answer: str) -> bool:
    return answer.startswith(("Yes", "No,"))


def _one_word(scene: Scene, answer: str) -> bool:
    return scene.text.isalpha() and len(scene.text) <= 8


TASKS: tuple[Task, ...] = (
    Task("colour", 0.98, ("colour_of_shape", "colours"), ("plain", "plain", "shapes")),
    Task("shape", 0.98, ("shape_of_colour", "shapes"), ("plain", "plain", "shapes")),
    Task("background", 0.0, ("background",), ("plain", "shapes")),
    Task("counting up to six", 0.95, ("count", "count_of"), ("many",), lambda scene, _: len(scene.shapes) <= 6),
    Task("counting up to ten", 0.90, ("count", "count_of"), ("many",)),
    Task("position", 0.95, ("where", "at_place", "neighbour", "relation"), ("plain", "shapes")),
    Task("words of up to 8 letters", 0.90, ("read",), ("text", "text", "labelled"), _one_word),
    Task("numbers of up to 5 digits", 0.95, ("number",), ("text", "labelled"), lambda scene, _: scene.text.isdigit()),
    Task("lines of text", 0.0, ("read",), ("text",), lambda scene, _: " " in scene.text),
    Task("one of several words", 0.0, ("read_coloured", "read_at"), ("words",)),
    Task("a word that is named", 0.0, ("word_colour", "word_place", "says"), ("words",)),
    Task("two-image comparison", 0.90, tuple(kind for kind in COMPARISONS if kind != "missing"), ("plain", "shapes")),
    Task(
        "what only one picture has", 0.0, ("difference", "missing"), ("plain", "shapes"),
        lambda _, said: "Only the" in said,
    ),
    Task("bar charts", 0.90, ("tallest", "shortest", "value_of", "num_bars", "with_value", "labels"), ("chart",)),
    Task(
        "yes or no", 0.97, ("exists", "is_colour", "is_shape", "relation", "has_text", "is_taller"),
        ("plain", "shapes", "labelled", "chart"), _is_yes_or_no,
    ),
    Task("size", 0.0, ("extreme",), ("plain", "shapes")),
    Task("description", 0.0, ("describe",), ("plain", "shapes", "labelled")),
    Task("not shown: says so", 0.0, ("unknown",), ("plain", "shapes")),
    Task("like a photograph: says so", 0.0, ("photo_colours", "photo_other"), ("photo",)),
    Task("sort of picture", 0.0, tuple(SORT_QUESTIONS), ("plain", "text", "labelled", "chart", "photo")),
    Task("second turn", 0.0, tuple(LEANED_ON), ("plain", "shapes")),
    Task("small talk", 0.0, tuple(CHAT_ANSWERS), ()),
)  # fmt: skip


def samples(task: Task, count: int, seed: int = SEED, held_out: bool = True) -> list[Sample]:
    """`count` questions, each about new pictures."""
    rng = random.Random(f"evaluate/{task.name}/{seed}")
    found = _chats(rng, task, held_out) if not task.scenes else _about_pictures(rng, task, seed, held_out)
    return [next(found) for _ in range(count)]


def _about_pictures(rng: random.Random, task: Task, seed: int, held_out: bool) -> Iterator[Sample]:
    index = number = 0
    while True:
        index += 1
        scenes: tuple[Scene, ...]
        kind, sort = task.kinds[number % len(task.kinds)], task.scenes[index % len(task.scenes)]
        scene = make_scene(sort, seed, index, held_out)
        scenes, before = (scene,), None
        if kind in COMPARISONS:
            scenes = (
                a_pair(rng, scene, SAME_SHARE, GONE_SHARE)
                if rng.random() < 0.5
                else (scene, make_scene(sort, seed, -index, held_out))
            )
            asked = compare(rng, kind, scenes, held_out)
        elif kind in LEANED_ON:
            before, asked = _two_turns(rng, kind, scene, held_out)
        else:
            asked = ask(rng, kind, scene, held_out)
        if asked and task.is_meant(scene, asked[1]):
            is_drawn_again = number // len(task.kinds) % 2 == 1
            yield Sample(task.name, kind, *_shown(asked), scenes, is_drawn_again, before and _shown(before))
        number += 1 if asked else rng.random() < 0.1  # skip a kind that this sort of scene cannot answer


def _two_turns(rng: random.Random, sort: str, scene: Scene, held_out: bool) -> tuple[Asked | None, Asked | None]:
    first_kind = rng.choice(LEANED_ON[sort])
    first = ask(rng, first_kind, scene, held_out)
    return first, first and second_turn(rng, sort, first_kind, first, scene, held_out)


def _shown(asked: Asked) -> Asked:
    return unmarked(asked[0]), unmarked(asked[1])


def _chats(rng: random.Random, task: Task, held_out: bool) -> Iterator[Sample]:
    while True:
        turn = chat_turn(rng, held_out)
        if turn.kind in task.kinds:
            yield Sample(task.name, turn.kind, turn.question, turn.answer)


UNORDERED = ("describe", "shapes", "colours", "labels")  # kinds whose answers may have any order


def is_right(sample: Sample, answer: str) -> bool:
    """All words of the expected answer and no others; of a text that was read each character; of yes or no just it."""
    if sample.task == "yes or no":
        return _words(answer)[:1] == _words(sample.answer)[:1]
    expected = QUOTED.search(sample.answer)
    if expected and sample.kind in ("read", "read_coloured", "read_at", "has_text", "chart_title"):
        said = QUOTED.search(answer)
        return said is not None and said[1] == expected[1]
    if sample.kind in UNORDERED:
        return sorted(_words(answer)) == sorted(_words(sample.answer))
    return _words(answer) == _words(sample.answer)


def _words(text: str) -> list[str]:
    plain = text.lower().replace("gray", "grey").replace("color", "colour").replace(" an ", " a ")
    return re.findall(r"\w+", plain)
