"""Pictures that cannot be read or are of another kind, things that are not there, and pictures without a question."""

import random
from collections.abc import Callable

from training.blind.cases import (
    Case,
    another,
    chart,
    color_rule,
    crowd,
    kinds,
    pair,
    plural,
    shape_rule,
    shown,
    shown_chart,
    single,
)
from training.blind.drawing import COLORS, FONTS, SHAPES, Print, draw_other, draw_plot, draw_print
from training.blind.grading import Answered, Decline, Description, Reading
from training.blind.skills_charts import printed, some_word

Form = Callable[[random.Random, bool], Case]
SHAPE_WORDS = (*SHAPES, *map(plural, SHAPES))
# What may be said in truth of a picture of another kind.
KINDS = {
    "pie": ("pie chart", "pie"),
    "line": ("line chart", "line graph", "line plot"),
    "dots": ("scatter plot", "scatter chart", "dots", "points"),
    "rose": ("rose", "flower"),
    "wizard": ("wizard", "drawing", "cartoon"),
    "granite": ("granite", "rock", "stone", "texture", "pattern"),
    "clouds": ("clouds", "plasma", "pattern", "blurred colors", "abstract"),
    "noise": ("noise", "static", "pattern"),
}
UNTRUE_KINDS = ("bar chart", "bar", "bars", *SHAPE_WORDS, "word", "words", "mark", "sorting")


def undescribed_single(rng: random.Random, turned: bool) -> Case:
    """No question at all: a description of the one shape."""
    scene, item = single(rng, "white")
    untrue = tuple(word for word in (*SHAPES, *COLORS) if word not in (item.shape, item.color))
    rule = Description(((item.shape,), (item.color,)), untrue)
    return Case(shown(rng, scene), "", rule, f"A {item.color} {item.shape} on a white ground.", f"A {untrue[0]}.")


def undescribed_pair(rng: random.Random, turned: bool) -> Case:
    """No question at all: a description of the two shapes, each with its own colour."""
    scene, first, second = pair(rng, rng.choice(("left", "above")))
    both = [(item.shape, item.color) for item in (first, second)]
    untrue = tuple(word for word in (*SHAPES, *COLORS) if not any(word in kind for kind in both))
    swapped = (f"{first.color} {second.shape}", f"{second.color} {first.shape}")
    rule = Description(((first.shape,), (second.shape,), (first.color,), (second.color,)), (*untrue, *swapped))
    truth = " and ".join(f"a {color} {shape}" for shape, color in both)
    return Case(shown(rng, scene), "", rule, truth, "a picture")


def undescribed_other(rng: random.Random, turned: bool) -> Case:
    """No question at all: a chart's bars with a colour of theirs or their number, or a printed word."""
    if turned:
        bars = chart(rng)
        untrue = (*(color for color in COLORS if color not in bars.colors), *SHAPE_WORDS)
        rule = Description((("chart", "bars", "bar chart", "graph"), (*bars.colors, str(len(bars.colors)))), untrue)
        return Case(shown_chart(rng, bars), "", rule, f"A bar chart with {len(bars.colors)} bars.", "A red circle.")
    word = some_word(rng)
    rule = Description(((word,),), SHAPE_WORDS)
    return Case(printed(rng, ((word.upper(), "black"),)), "", rule, f'The word "{word}".', "A red circle.")


def unreadable(rng: random.Random, turned: bool) -> Case:
    """A word that is blurred or too small for anybody to read."""
    word = some_word(rng)
    text = (
        Print(((word, "black"),), rng.choice(FONTS), 40, blur=16) if turned else Print(((word, "black"),), FONTS[0], 4)
    )
    question = rng.choice(("What does it say?", "What word is written here?", "Read the text."))
    absent = ("no text", "no word", "no words", "nothing")
    rule = Decline("unreadable", untrue=(*absent, *SHAPE_WORDS))
    return Case(draw_print(text, "imagemagick"), question, rule, "I cannot read it: it is too blurred.", word)


def other_kind(rng: random.Random, turned: bool) -> Case:
    """A picture of a kind that is neither shapes nor bars nor words."""
    kind = rng.choice(tuple(KINDS))
    seed = rng.randint(1, 99)
    picture = draw_plot(kind, seed) if kind in ("pie", "line", "dots") else draw_other(kind, seed)
    question = rng.choice(("What is this?", "What is in the picture?", "Describe this picture.", "What do you see?"))
    true_words = " ".join(KINDS[kind]).split()
    untrue = tuple(word for word in UNTRUE_KINDS if word not in true_words)
    untrue = untrue if kind in ("rose", "granite") else (*untrue, "photograph")
    rule = Decline("kind", untrue=untrue, instead=KINDS[kind])
    return Case(picture, question, rule, "I do not know this kind of picture.", "A red circle.")


def shape_absent(rng: random.Random, turned: bool) -> Case:
    """The shape that is asked about is not there."""
    (shape, color), second, third = kinds(rng, 3)
    picture = shown(rng, crowd(rng, [second, third]))
    asked = f"the {shape}"
    question = rng.choice((f"What color is {asked}?", f"Where is {asked}?", f"What is next to {asked}?"))
    rule = Decline("absent", (f"no {shape}", f"not {shape}", f"without {shape}"), (f"{shape} is",))
    return Case(picture, question, rule, f"There is no {shape}.", f"The {shape} is {color}.")


def bar_absent(rng: random.Random, turned: bool) -> Case:
    """A bar, or a chart, or a text that is asked about is not there."""
    if turned:
        bars = chart(rng)
        color = another(rng, tuple(COLORS), *bars.colors)
        rule = Decline("absent", (f"no {color}", f"not {color}"), (f"{color} bar is",))
        question = f"Is the {color} bar taller than the {bars.colors[0]} bar?"
        return Case(shown_chart(rng, bars), question, rule, f"There is no {color} bar.", "yes")
    scene, _ = single(rng)
    thing = rng.choice(("text", "word", "bar chart"))
    questions = {
        "text": "What does the text say?",
        "word": "Which word is written?",
        "bar chart": "Which bar is tallest?",
    }
    rule = Decline("absent", ("no text", "no word", "no words", "no bar", "no bars", "no chart", "not bar chart"))
    return Case(shown(rng, scene), questions[thing], rule, f"There is no {thing}.", "I cannot read it.")


def clear_shape(rng: random.Random, turned: bool) -> Case:
    """Nothing to decline: a clear shape."""
    scene, item = single(rng)
    if turned:
        rule = Answered(color_rule(item.color))
        return Case(shown(rng, scene), f"What color is the {item.shape}?", rule, item.color, "There is no shape.")
    rule = Answered(shape_rule(item.shape))
    return Case(shown(rng, scene), f"What shape is {item.color}?", rule, item.shape, "I cannot read it.")


def clear_word(rng: random.Random, turned: bool) -> Case:
    """Nothing to decline: a clear word."""
    word = some_word(rng)
    picture = printed(rng, ((word.upper(), "black"),))
    return Case(picture, "What does it say?", Answered(Reading(word)), word, "I cannot read it.")


DECLINES: tuple[Form, ...] = (
    undescribed_single,
    undescribed_pair,
    undescribed_other,
    unreadable,
    other_kind,
    shape_absent,
    bar_absent,
    unreadable,
    other_kind,
    lambda rng, turned: clear_word(rng, turned) if rng.random() < 0.4 else clear_shape(rng, turned),
)
