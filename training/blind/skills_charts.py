"""Questions about bars without names, and about printed words."""

import random
from collections.abc import Callable

from training.blind.cases import Case, another, chart, color_rule, shown_chart, tool
from training.blind.drawing import COLORS, FONTS, Chart, Print, draw_print
from training.blind.grading import ORDINALS, Choice, Number, Reading, Rule, YesNo

Form = Callable[[random.Random, bool], Case]
WORDS_TEXT = (
    "bread milk open exit stop taxi hotel market garden river stone paper music green north south coffee "
    "tickets bakery school museum parking sale library pharmacy platform office kitchen lemon sugar honey "
    "winter summer silver bridge castle forest island harbor window station flower letter"
)
WORDS = WORDS_TEXT.split()


def bar_rule(bars: Chart, at: int) -> Choice:
    """The bar by its colour or by its place, and by no other bar's."""
    last = len(bars.colors) - 1
    places = [{word, f"bar {i + 1}", f"number {i + 1}"} for i, word in enumerate(ORDINALS[: last + 1])]
    places[0] |= {"top", "topmost"} if bars.lying else {"left", "leftmost"}
    places[last] |= {"last", "bottom", "lowest"} if bars.lying else {"last", "right", "rightmost"}
    if last % 2 == 0:
        places[last // 2] |= {"middle", "center"}
    others = [word for i, words in enumerate(places) if i != at for word in words]
    # "the second from the left" (or: from the top) is the second.
    right = places[at]
    others = [word for word in others if word != ("top" if bars.lying else "left")]
    colors = [color for i, color in enumerate(bars.colors) if i != at]
    more = [color for color in COLORS if color not in bars.colors]
    return Choice((bars.colors[at], *sorted(right)), (*sorted(others), *colors, *more))


def extreme(bars: Chart, highest: bool) -> int:
    """The place of the highest or of the lowest bar."""
    return bars.heights.index(max(bars.heights) if highest else min(bars.heights))


def which_bar(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng)
    at = extreme(bars, turned)
    wrong = bars.colors[at - 1]
    question = (
        f"Which bar is the {rng.choice(('tallest', 'highest')) if turned else rng.choice(('shortest', 'lowest'))}?"
    )
    return Case(shown_chart(rng, bars), question, bar_rule(bars, at), f"the {bars.colors[at]} bar", wrong)


def color_of_extreme(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng)
    at = extreme(bars, not turned)
    word = "shortest" if turned else "tallest"
    question = rng.choice((f"What color is the {word} bar?", f"What is the color of the {word} bar?"))
    return Case(shown_chart(rng, bars), question, color_rule(bars.colors[at]), bars.colors[at], bars.colors[at - 1])


def longest_lying(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng, lying=True)
    at = extreme(bars, turned)
    question = f"Which bar is the {'longest' if turned else 'shortest'}?"
    return Case(shown_chart(rng, bars), question, bar_rule(bars, at), bars.colors[at], bars.colors[at - 1])


def compared(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng)
    i, j = rng.sample(range(len(bars.colors)), 2)
    if (bars.heights[i] > bars.heights[j]) != turned:
        i, j = j, i
    lower = rng.random() < 0.3
    right = turned != lower
    question = f"Is the {bars.colors[i]} bar {'shorter' if lower else 'taller'} than the {bars.colors[j]} bar?"
    return Case(shown_chart(rng, bars), question, YesNo(right), "yes" if right else "no", "no" if right else "yes")


def which_of_two(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng)
    i, j = rng.sample(range(len(bars.colors)), 2)
    right, wrong = (i, j) if (bars.heights[i] > bars.heights[j]) == turned else (j, i)
    word = "higher" if turned else "lower"
    question = f"Which bar is {word}, the {bars.colors[i]} one or the {bars.colors[j]} one?"
    return Case(shown_chart(rng, bars), question, bar_rule(bars, right), bars.colors[right], bars.colors[wrong])


def count_bars(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng)
    question = "How many bars are there?" if turned else "How many bars does the chart have?"
    count = len(bars.colors)
    return Case(shown_chart(rng, bars), question, Number(count), str(count), str(count - 1))


def color_by_place(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng)
    at = rng.randrange(len(bars.colors))
    place = f"{ORDINALS[at]} bar from the left"
    if turned:
        at = rng.choice((0, len(bars.colors) - 1))
        place = "bar on the far left" if at == 0 else rng.choice(("bar on the far right", "rightmost bar", "last bar"))
    question = f"What color is the {place}?"
    return Case(shown_chart(rng, bars), question, color_rule(bars.colors[at]), bars.colors[at], bars.colors[at - 1])


def place_is_extreme(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng)
    at = extreme(bars, True)
    place = rng.choice(("leftmost", "first")) if rng.random() < 0.5 else rng.choice(("rightmost", "last"))
    asked = 0 if place in ("leftmost", "first") else len(bars.colors) - 1
    if turned:  # swapped, so that it is so
        heights = list(bars.heights)
        heights[at], heights[asked] = heights[asked], heights[at]
        bars = Chart(bars.colors, tuple(heights), bars.lying, bars.axes)
    right = extreme(bars, True) == asked
    answers = ("yes", "no") if right else ("no", "yes")
    return Case(shown_chart(rng, bars), f"Is the {place} bar the tallest?", YesNo(right), *answers)


def count_taller(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng)
    at = rng.randrange(len(bars.colors))
    count = sum((h > bars.heights[at]) if turned else (h < bars.heights[at]) for h in bars.heights)
    question = f"How many bars are {'taller' if turned else 'shorter'} than the {bars.colors[at]} bar?"
    return Case(shown_chart(rng, bars), question, Number(count), str(count), str(count + 1))


def first_or_last(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng)
    last = len(bars.colors) - 1
    right = 0 if (bars.heights[0] > bars.heights[last]) == turned else last
    question = f"Which bar is {'taller' if turned else 'shorter'}, the first or the last?"
    answers = ("the last", "the first") if right else ("the first", "the last")
    return Case(shown_chart(rng, bars), question, bar_rule(bars, right), *answers)


CHARTS: tuple[Form, ...] = (
    which_bar,
    color_of_extreme,
    longest_lying,
    compared,
    which_of_two,
    count_bars,
    color_by_place,
    place_is_extreme,
    count_taller,
    first_or_last,
)


def cased(rng: random.Random, word: str) -> str:
    """The word in capitals, in small letters, or with one capital."""
    return rng.choice((word.upper(), word.lower(), word.title()))


def printed(rng: random.Random, words: tuple[tuple[str, str], ...]) -> bytes:
    """The words by either tool, large."""
    longest = max(len(word) for word, _ in words)
    return draw_print(Print(words, rng.choice(FONTS), 72 if longest < 6 else 56), tool(rng))


def reading(form: str) -> Form:
    def made(rng: random.Random, turned: bool) -> Case:
        word, wrong = rng.sample(WORDS, 2)
        rule: Rule = Reading(word, one_word="one word" in form)
        return Case(
            printed(rng, ((cased(rng, word), rng.choice(("black", "black", "blue", "red"))),)), form, rule, word, wrong
        )

    return made


def does_it_say(rng: random.Random, turned: bool) -> Case:
    word, other = rng.sample(WORDS, 2)
    question = f'Does it say "{(word if turned else other).upper()}"?'
    answers = ("yes", "no") if turned else ("no", "yes")
    return Case(printed(rng, ((cased(rng, word), "black"),)), question, YesNo(turned), *answers)


def word_or_word(rng: random.Random, turned: bool) -> Case:
    word, other = rng.sample(WORDS, 2)
    first, second = (word, other) if turned else (other, word)
    question = f'Is the word "{first}" or "{second}"?'
    return Case(printed(rng, ((cased(rng, word), "black"),)), question, Reading(word), word, other)


def word_of_color(rng: random.Random, turned: bool) -> Case:
    word, other = rng.sample([word for word in WORDS if word not in COLORS], 2)
    color, other_color = rng.sample(("red", "blue", "green", "purple"), 2)
    rows = ((word.upper(), color), (other.upper(), other_color))
    question = f"What is written in {color}?" if turned else f"What does the {color} word say?"
    return Case(printed(rng, rows if turned else rows[::-1]), question, Reading(word), word, other)


READING: tuple[Form, ...] = (
    reading("What does it say?"),
    reading("What word is written in the picture?"),
    reading("Read the text."),
    reading("what does the sign say?"),
    reading("What is the text in this image? Answer with one word."),
    reading("Please transcribe the word."),
    reading("whats written here"),
    does_it_say,
    word_or_word,
    word_of_color,
)


def some_word(rng: random.Random, *without: str) -> str:
    """A word to print."""
    return another(rng, WORDS, *without)
