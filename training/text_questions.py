"""Questions about the writing in a picture; the answers say so if there is none."""

import random
import string
from collections import Counter
from collections.abc import Callable
from functools import partial

from training import marks
from training.colours import COLOURS
from training.facts import Found, Table, listing, other
from training.scene import Scene, Writing
from training.shape_questions import place_of
from training.writing import word

NO_TEXT = "There is no text in the picture."
NOT_WRITTEN = "The picture does not say that."


def _text(scene: Scene) -> str:
    return marks.reading(scene.text, 0)


def _before(scene: Scene, writing: Writing) -> list[str]:
    return [one.text for one in scene.writings[: scene.writings.index(writing)]]


def _read_out(scene: Scene, writing: Writing) -> str:
    """One of several writings."""
    return marks.reading(writing.text, marks.letters_in(_before(scene, writing)))


def _mark(scene: Scene, writing: Writing) -> str:
    """The mark of one of several writings in a question: that of its first word."""
    return marks.word(_first_word(scene, writing))


def _first_word(scene: Scene, writing: Writing) -> int:
    return sum(len(text.split()) for text in _before(scene, writing))


def _asks_for_one(rng: random.Random, scene: Scene) -> bool:
    """Whether to ask for one writing by a property: usually among several, seldom for the only one."""
    return len(scene.writings) > 1 or (len(scene.writings) == 1 and rng.random() < 0.1)


def _alone(rng: random.Random, scene: Scene, known_by: Callable[[Writing], str | None]) -> tuple[str, Writing] | None:
    """A property that only one writing has, and the writing; None if there is none."""
    names = Counter(known_by(writing) for writing in scene.writings)
    found = [(name, writing) for writing in scene.writings if (name := known_by(writing)) and names[name] == 1]
    return rng.choice(found) if found and _asks_for_one(rng, scene) else None


def _read(rng: random.Random, scene: Scene) -> Found | None:
    if scene.writings:
        return Found({}, f'It says "{_text(scene)}".')
    return Found({}, NO_TEXT) if rng.random() < 0.15 else None


def _read_coloured(rng: random.Random, scene: Scene) -> Found | None:
    if rng.random() < 0.06 and _asks_for_one(rng, scene):
        colour = other(rng, COLOURS, (scene.background, *scene.ink_colours))
        return Found({"ink": colour + marks.NOTHING}, f"There is no {colour} text in the picture.")
    if not (found := _alone(rng, scene, lambda writing: writing.colour)):
        return None
    colour, writing = found
    return Found({"ink": colour + _mark(scene, writing)}, f'It says "{_read_out(scene, writing)}".')


def _read_at(rng: random.Random, scene: Scene) -> Found | None:
    if not (found := _alone(rng, scene, partial(place_of, scene))):
        return None
    place, writing = found
    return Found({"place": place + _mark(scene, writing)}, f'It says "{_read_out(scene, writing)}".')


def quoted(rng: random.Random, text: str) -> str:
    """The word as people write it in a question: with or without quotes."""
    return f'"{text}"' if rng.random() < 0.5 else text


def _named(rng: random.Random, scene: Scene, number: int) -> str:
    """A word of the scene, marked, as a question names it."""
    words = scene.text.split()
    return quoted(rng, marks.reading(words[number], marks.letters_in(words[:number])) + marks.word(number))


def _not_written(rng: random.Random, scene: Scene) -> str:
    """A word that is not in the picture; in half of the cases one of its words with a letter changed."""
    written = scene.text.lower().split()
    while True:
        text = word(rng) if rng.random() < 0.5 or not written else _misread(rng, rng.choice(scene.text.split()))
        if text.lower() not in written:
            return quoted(rng, text + marks.NOTHING)


def _misread(rng: random.Random, text: str) -> str:
    place, letters = rng.randrange(len(text)), string.digits if text.isdigit() else string.ascii_lowercase
    letter = rng.choice(letters)
    return text[:place] + (letter.upper() if text[place].isupper() else letter) + text[place + 1 :]


def _about_named(known: Callable[[Scene, Writing], str | None], rng: random.Random, scene: Scene) -> Found | None:
    """A question about a property of one word among several."""
    if not _asks_for_one(rng, scene):
        return None
    if rng.random() < 0.06:
        return Found({"word": _not_written(rng, scene)}, NOT_WRITTEN)
    found = _alone(rng, scene, lambda writing: None if " " in writing.text else writing.text.lower())
    if not found or not (answer := known(scene, found[1])):
        return None
    return Found({"word": _named(rng, scene, _first_word(scene, found[1]))}, f"It is {answer}.")


def _says(rng: random.Random, scene: Scene) -> Found | None:
    if not scene.writings:
        found = Found({"word": quoted(rng, word(rng) + marks.NOTHING)}, "No, there is no text.")
        return found if rng.random() < 0.1 else None
    if rng.random() < 0.5:
        return Found({"word": _not_written(rng, scene)}, "No, it does not say that.")
    return Found({"word": _named(rng, scene, rng.randrange(len(scene.text.split())))}, "Yes, it says that.")


def _number(rng: random.Random, scene: Scene) -> Found | None:
    numbers = [writing for writing in scene.writings if writing.text.isdigit()]
    if len(numbers) == 1:
        return Found({}, f"The number is {_read_out(scene, numbers[0])}.")
    has_digits = any(letter.isdigit() for letter in scene.text)
    return Found({}, "There is no number in the picture.") if not has_digits and rng.random() < 0.05 else None


def _text_colour(rng: random.Random, scene: Scene) -> Found | None:
    if scene.writings:
        return Found({}, f"The text is {listing(scene.ink_colours)}.")
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
    "read_coloured": (12, _read_coloured),
    "read_at": (12, _read_at),
    "word_colour": (7, partial(_about_named, lambda scene, writing: writing.colour)),
    "word_place": (7, partial(_about_named, place_of)),
    "says": (4, _says),
    "number": (5, _number),
    "text_colour": (2, _text_colour),
    "has_text": (3, _has_text),
    "no_chart": (0.7, _no_chart),
}
