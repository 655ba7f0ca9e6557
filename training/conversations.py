"""Conversations about pictures: who says what, in which order, and with which picture.

A picture is costly to encode, so a conversation may end in several turns, its forks. Each fork continues the same turns
and does not attend to the other forks.
"""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass, replace

from training.comparisons import varied
from training.facts import Found
from training.marks import unmarked
from training.phrases import JUMBLE, SYSTEMS
from training.plainly import TOOL_SHARE, ask_plainly, some_tool
from training.questions import (
    FOREIGN_WORDS,
    LEANED_ON,
    PICTURE_QUESTIONS,
    any_fill,
    ask,
    ask_anything,
    compare_anything,
    phrase,
    second_turn,
    table_for,
)
from training.scene import Scene
from training.scenes import ASKED_PLAINLY, make_scene

CHAT_ANSWERS = {
    "greeting": "Hello! Show me a picture and ask me about it.",
    "ability": "I am foveal-mini, a small vision model. I can name, count, place and compare shapes, read words and "
    "numbers, and read simple bar charts.",
    "thanks": "You are welcome.",
    "goodbye": "Goodbye!",
}
COMPARED = ("plain", "shapes", "many")  # kinds of scene that are shown two or three at a time
FOLLOWED_SHARE = 0.2  # of conversations about one picture
SAME_SHARE = 0.25  # of pairs; with fewer, a model soon answers that any two pictures differ
GONE_SHARE = 0.6  # of pairs that differ; a shape of only the first picture is learned last
COMPARED_SHARE = 0.55  # of COMPARED scenes, unless a stage says otherwise
PAIR_SHARE = 0.7  # of comparisons: a scene and its variation; the others are of unrelated scenes
QUESTIONS = {1: 14, 2: 10, 3: 3}  # by the number of pictures, so that conversations are about equally long
FEWER_QUESTIONS = {"text": 6, "words": 12, "labelled": 10, "photo": 4}  # about pictures whose questions soon repeat
LONG_SHARE, LONGEST_JUMBLE = 0.1, 4000  # of jumbles; characters
NOT_KNOWN = "I do not know. I can only answer questions about pictures of shapes, words and charts."
NO_PICTURE = "I see no picture. Please send one with your question."
NOT_UNDERSTOOD = "I do not understand. Please ask about the shapes, words or charts in a picture."


@dataclass(frozen=True)
class Turn:
    kind: str
    question: str
    answer: str
    pictures: tuple[Scene, ...] = ()  # shown with this turn
    pictures_first: bool = True
    spread: int = 1  # positions from each token of the question to the next, as in a longer question


@dataclass(frozen=True)
class Conversation:
    """Turns and their pictures. The pictures of the forks are shown with the turns that they share."""

    system: str | None
    turns: tuple[Turn, ...]
    forks: tuple[Turn, ...] = ()  # in place of the last turn, whose pictures they share; have none of their own

    @property
    def pictures(self) -> list[Scene]:
        return [picture for turn in self.turns for picture in turn.pictures]


def _system(rng: random.Random) -> str | None:
    return rng.choice(SYSTEMS) if rng.random() < 0.25 else None


def _jumble(rng: random.Random) -> str:
    """Words and characters without a meaning: a few, sometimes some hundred, seldom some thousand."""
    longest = LONGEST_JUMBLE if rng.random() < LONG_SHARE else 420
    if rng.random() < 0.25:
        unit = "".join(rng.choices(string.printable[:95], k=rng.choice((1, 1, 2, 5))))
        return (unit * longest)[: rng.randint(5, longest)]
    most = rng.choice((7, 7, 7, 60, 150)) if longest <= 420 else longest // 4
    share_of_words = rng.choice((0.6, 0.6, 0.95, 0.1 if most == 7 else 0.9))
    words = [
        rng.choice(JUMBLE if rng.random() < 0.5 else FOREIGN_WORDS)
        if rng.random() < share_of_words
        else "".join(rng.choices(string.ascii_letters + string.digits, k=rng.randint(1, 9)))
        for _ in range(rng.randint(1, most))
    ]
    return " ".join(words)[:longest] + rng.choice(("", "", "?", "!", "."))


def chat_turn(rng: random.Random, held_out: bool = False) -> Turn:
    """A turn that needs no picture."""
    kind = rng.choices((*CHAT_ANSWERS, "unknown", "jumble"), (4, 7, 2, 1, 4, 5))[0]
    if kind == "jumble":
        return Turn(kind, _jumble(rng), NOT_UNDERSTOOD, spread=rng.choice((1, 1, 1, 3, 8, 15)))
    question, answer = phrase(rng, kind, Found({}, CHAT_ANSWERS.get(kind, NOT_KNOWN)), held_out)
    return Turn(kind, question, answer)


def _small_talk(rng: random.Random) -> Turn:
    """A chat turn that is answered the same with a picture in sight."""
    while (turn := chat_turn(rng)).kind == "unknown":
        pass
    return turn


def without_picture(rng: random.Random) -> Conversation:
    """Small talk, or a question about a picture that is missing."""
    turns = [chat_turn(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    if rng.random() < 0.3:
        kind = rng.choice([kind for kind in PICTURE_QUESTIONS if kind != "unknown"])
        found = Found(any_fill(rng), NO_PICTURE, FORMS.get(kind))
        turns[-1] = Turn("no_picture", *phrase(rng, kind, found))
    return Conversation(_system(rng), tuple(turns))


FORMS = {"photo_colours": "describe", "photo_other": "count", "no_chart": "tallest", "describe_chart": "describe"}


def about(rng: random.Random, scene: Scene, num_questions: int) -> Conversation:
    """`num_questions` questions about one picture: mostly forks, sometimes with turns before them."""
    taken: set[str] = set()

    def question() -> Turn:
        if rng.random() < 0.02:
            return _small_talk(rng)
        kind, words, answer = ask_anything(rng, scene, taken)
        taken.add(words)
        return Turn(kind, words, answer)

    if rng.random() < FOLLOWED_SHARE and (followed := _followed(rng, scene, question, num_questions)):
        return followed
    return _forked(rng, (scene,), question, num_questions)


def _followed(
    rng: random.Random, scene: Scene, question: Callable[[], Turn], num_questions: int
) -> Conversation | None:
    """A question, and forks that continue from its answer. Half of the forks only name something else, or say "it".

    None if the picture allows no such question.
    """
    sort = rng.choices(list(LEANED_ON), (3, 2))[0]
    kinds = [kind for kind in LEANED_ON[sort] if kind in table_for(scene)]
    kind = rng.choice(kinds) if kinds else ""
    first = ask(rng, kind, scene) if kind else None
    if not first:
        return None
    asked = [second_turn(rng, sort, kind, first, scene) for _ in range(num_questions // 2)]
    forks = [Turn(sort, *words) for words in dict.fromkeys(filter(None, asked))]
    if not forks:
        return None
    forks += [question() for _ in range(num_questions - 1 - len(forks))]
    return Conversation(_system(rng), (Turn(kind, *first, (scene,)), forks[0]), tuple(forks[1:]))


def comparing(rng: random.Random, scenes: tuple[Scene, ...], num_questions: int) -> Conversation:
    """`num_questions` questions about two or three pictures shown together."""
    taken: set[str] = set()

    def question() -> Turn:
        kind, words, answer = compare_anything(rng, scenes, taken)
        taken.add(words)
        return Turn(kind, words, answer)

    return _forked(rng, scenes, question, num_questions)


def a_pair(rng: random.Random, scene: Scene, same_share: float, gone_share: float) -> tuple[Scene, Scene]:
    """A scene and its variation (see `varied`), in either order."""
    pair = scene, varied(rng, scene, same_share, gone_share)
    return pair if rng.random() < 0.5 else pair[::-1]


def _forked(
    rng: random.Random, pictures: tuple[Scene, ...], question: Callable[[], Turn], num_questions: int
) -> Conversation:
    before = [_small_talk(rng)] if rng.random() < 0.03 else []
    if rng.random() < 0.06:  # after the words; such a turn has no forks
        turn = question()
        asked = unmarked(turn.question)  # tokens before the picture cannot attend to it
        return Conversation(_system(rng), (*before, Turn(turn.kind, asked, turn.answer, pictures, False)))
    turns = [question() for _ in range(rng.choices((1, 2, 3), (6, 2, 1))[0])]
    first = turns[0]
    turns[0] = Turn(first.kind, first.question, first.answer, pictures)
    forks = tuple(question() for _ in range(num_questions - len(turns)))
    return Conversation(_system(rng), (*before, *turns), forks)


def plainly(rng: random.Random, scene: Scene, num_questions: int) -> Conversation:
    """Questions in plain words, for one word or for JSON; or with a tool, calls of it."""
    tool = some_tool(rng, scene) if rng.random() < TOOL_SHARE else None
    taken: set[str] = set()

    def question() -> Turn:
        asked = ask_plainly(rng, scene, taken, tool)
        taken.add(asked[1])
        return Turn(*asked)

    made = _forked(rng, (scene,), question, num_questions // 2 if tool else num_questions)
    return replace(made, system=tool.preamble) if tool else made


def converse(rng: random.Random, kind: str, compared: float = COMPARED_SHARE, plain: float = 0.0) -> Conversation:
    """Questions about a new scene of the kind. `compared`: the share of comparisons, if it is a COMPARED kind.

    `plain`: the share of the other conversations that are in plain words.
    """
    scene = make_scene(kind, rng.getrandbits(32), 0)
    if kind in ASKED_PLAINLY or (plain and rng.random() < plain):
        return plainly(rng, scene, FEWER_QUESTIONS.get(kind, QUESTIONS[1]))
    if kind not in COMPARED or rng.random() >= compared:
        return about(rng, scene, FEWER_QUESTIONS.get(kind, QUESTIONS[1]))
    if rng.random() < PAIR_SHARE:
        return comparing(rng, a_pair(rng, scene, SAME_SHARE, GONE_SHARE), QUESTIONS[2])
    scenes = (scene, *(make_scene(kind, rng.getrandbits(32), 0) for _ in range(rng.choice((1, 2)))))
    return comparing(rng, scenes, QUESTIONS[len(scenes)])
