"""Questions about shapes: alternatives, relations, existence, counting, and attributes in many forms."""

import random
from collections.abc import Callable
from dataclasses import replace

from training.blind.cases import (
    PHRASES,
    Case,
    another,
    article,
    color_rule,
    crowd,
    item_rule,
    kinds,
    named,
    pair,
    plural,
    shape_rule,
    shown,
    single,
)
from training.blind.drawing import COLORS, SHAPES, Item, Scene
from training.blind.grading import OPPOSITE, Choice, Number, Relation, Rule, YesNo

Form = Callable[[random.Random, bool], Case]
ASIDE = ("left", "right", "above", "below")


def either(rng: random.Random, first: str, second: str) -> str:
    """The two with "or" between them, in either order."""
    return " or ".join(rng.sample((first, second), 2))


# Alternatives


def side_of_two(rng: random.Random, relation: str) -> Case:
    scene, first, second = pair(rng, relation)
    words = {side: PHRASES[side][0] if side in ("left", "right") else side for side in (relation, OPPOSITE[relation])}
    question = f"Is the {named(rng, first)} {either(rng, *words.values())} the {named(rng, second)}?"
    rule = Relation((first.shape, first.color), (second.shape, second.color), relation)
    return Case(shown(rng, scene), question, rule, relation, OPPOSITE[relation])


def above_or_below(rng: random.Random, turned: bool) -> Case:
    return side_of_two(rng, "above" if turned else "below")


def left_or_right(rng: random.Random, turned: bool) -> Case:
    return side_of_two(rng, "left" if turned else "right")


def color_or_color(rng: random.Random, turned: bool) -> Case:
    scene, first, second = pair(rng, "left")
    other = second.color if turned else another(rng, tuple(COLORS), first.color)
    question = f"Is the {first.shape} {either(rng, first.color, other)}?"
    return Case(shown(rng, scene), question, color_rule(first.color), first.color, other)


def shape_or_shape(rng: random.Random, turned: bool) -> Case:
    scene, item = single(rng)
    other = another(rng, SHAPES, item.shape)
    question = f"{'Is this' if turned else 'Is it'} {either(rng, article(item.shape), article(other))}?"
    return Case(shown(rng, scene), question, shape_rule(item.shape), item.shape, other)


def which_is_bigger(rng: random.Random, turned: bool) -> Case:
    scene, first, second = pair(rng, "larger" if turned else "smaller")
    question = (
        f"Which is {rng.choice(('bigger', 'larger')) if turned else 'smaller'}, "
        f"{either(rng, f'the {first.color} {first.shape}', f'the {second.color} {second.shape}')}?"
    )
    return Case(shown(rng, scene), question, item_rule(first), f"{first.color} {first.shape}", second.shape)


def more_of(rng: random.Random, turned: bool) -> Case:
    more, fewer = rng.sample(SHAPES, 2)
    few = rng.randint(1, 2)
    many = few + rng.randint(1, 2)
    wanted = [(shape, rng.choice(tuple(COLORS))) for shape in [more] * many + [fewer] * few]
    question = f"Are there more {either(rng, plural(more), plural(fewer))}?"
    if turned:
        question = f"Which are there more of: {either(rng, plural(more), plural(fewer))}?"
    names = shape_rule(more)
    rule = replace(names, others=(*names.others, "same", "equal"))
    return Case(shown(rng, crowd(rng, wanted)), question, rule, plural(more), plural(fewer))


def black_or_white(rng: random.Random, turned: bool) -> Case:
    on, other = ("black", "white") if turned else ("white", "black")
    scene, _ = single(rng, on)
    question = f"Is the background {either(rng, 'black', 'white')}?"
    return Case(shown(rng, scene), question, Choice((on,), (other, *COLORS)), on, other)


def half_of_picture(rng: random.Random, turned: bool) -> Case:
    scene, item = single(rng)
    side, other = ("left", "right") if turned else ("right", "left")
    moved = replace(item, x=0.22 if turned else 0.78, radius=0.15)
    question = f"Is the {item.shape} on the {either(rng, 'left', 'right')} side of the picture?"
    rule = Choice((side,), (other, f"{side} of {item.shape}"))
    return Case(shown(rng, replace(scene, items=(moved,))), question, rule, f"on the {side}", other)


def two_or_three(rng: random.Random, turned: bool) -> Case:
    shape, other = rng.sample(SHAPES, 2)
    count, wrong = (2, "three") if turned else (3, "two")
    wanted = [(shape, rng.choice(tuple(COLORS))) for _ in range(count)] + [(other, rng.choice(tuple(COLORS)))]
    question = f"Are there {either(rng, 'two', 'three')} {plural(shape)}?"
    return Case(shown(rng, crowd(rng, wanted)), question, Number(count), str(count), wrong)


def which_has_color(rng: random.Random, turned: bool) -> Case:
    scene, first, second = pair(rng, rng.choice(ASIDE))
    start = f"Which one is {first.color}, " if turned else f"What is {first.color}: "
    question = f"{start}{either(rng, f'the {first.shape}', f'the {second.shape}')}?"
    return Case(shown(rng, scene), question, shape_rule(first.shape), f"the {first.shape}", second.shape)


ALTERNATIVES: tuple[Form, ...] = (
    above_or_below,
    left_or_right,
    color_or_color,
    shape_or_shape,
    which_is_bigger,
    more_of,
    black_or_white,
    half_of_picture,
    two_or_three,
    which_has_color,
)


# Relations


def asked_yes_no(rng: random.Random, relation: str, right: bool, by_color: bool) -> Case:
    scene, first, second = pair(rng, relation)
    names = (f"the {first.color} one", f"the {second.color} one")
    if not by_color:
        names = (f"the {named(rng, first)}", f"the {named(rng, second)}")
    # A wrong statement says the two the other way round.
    subject, other = names if right else names[::-1]
    question = f"Is {subject} {rng.choice(PHRASES[relation])} {other}?"
    return Case(shown(rng, scene), question, YesNo(right), "yes" if right else "no", "no" if right else "yes")


def is_aside(rng: random.Random, turned: bool) -> Case:
    return asked_yes_no(rng, rng.choice(("left", "right")), turned, False)


def is_over(rng: random.Random, turned: bool) -> Case:
    return asked_yes_no(rng, rng.choice(("above", "below")), not turned, False)


def is_sized(rng: random.Random, turned: bool) -> Case:
    return asked_yes_no(rng, rng.choice(("larger", "smaller")), turned, False)


def is_by_color(rng: random.Random, turned: bool) -> Case:
    return asked_yes_no(rng, rng.choice(tuple(PHRASES)), not turned, True)


def what_is_there(rng: random.Random, turned: bool) -> Case:
    relation = rng.choice(ASIDE)
    scene, first, second = pair(rng, relation)
    question = f"What is {PHRASES[relation][0]} the {named(rng, second)}?"
    rule = item_rule(first, (second.shape, second.color))
    return Case(shown(rng, scene), question, rule, f"a {first.color} {first.shape}", second.shape)


def shape_there(rng: random.Random, turned: bool) -> Case:
    relation = rng.choice(ASIDE)
    scene, first, second = pair(rng, relation)
    which = "What shape is" if turned else "Which shape is"
    question = f"{which} {PHRASES[relation][0]} the {second.color} {second.shape}?"
    return Case(shown(rng, scene), question, shape_rule(first.shape, (second.shape,)), first.shape, second.shape)


def color_there(rng: random.Random, turned: bool) -> Case:
    relation = rng.choice(ASIDE)
    scene, first, second = pair(rng, relation)
    where = f"{PHRASES[relation][0]} the {second.shape}"
    question = f"There is an object {where}; what color is it?" if turned else f"What color is the shape {where}?"
    return Case(shown(rng, scene), question, color_rule(first.color), first.color, second.color)


def where_is(rng: random.Random, turned: bool) -> Case:
    relation = rng.choice(ASIDE)
    scene, first, second = pair(rng, relation)
    name, other = first.shape, f"the {second.shape}"
    question = f"Where is the {name} in relation to {other}?" if turned else f"Where is the {name} relative to {other}?"
    rule = Relation((first.shape, first.color), (second.shape, second.color), relation)
    return Case(shown(rng, scene), question, rule, relation, OPPOSITE[relation])


def most_sized(rng: random.Random, turned: bool) -> Case:
    radii = [0.2, 0.12, 0.06]
    rng.shuffle(radii)
    spots = ((0.24, 0.3), (0.76, 0.35), (0.5, 0.77))
    items = [Item(s, c, *spot, r) for (s, c), spot, r in zip(kinds(rng, 3), spots, radii, strict=True)]
    chosen = max(items, key=lambda item: item.radius) if turned else min(items, key=lambda item: item.radius)
    word = rng.choice(("largest", "biggest")) if turned else "smallest"
    wrong = next(item.shape for item in items if item is not chosen)
    return Case(shown(rng, Scene(tuple(items))), f"Which shape is the {word}?", item_rule(chosen), chosen.shape, wrong)


def on_which_side(rng: random.Random, turned: bool) -> Case:
    relation = "left" if turned else "right"
    scene, first, _ = pair(rng, relation)
    question = f"On which side of the picture is the {first.shape}, left or right?"
    if rng.random() < 0.5:
        question = f"Which side of the image is the {first.shape} on?"
    rule = Choice(("left", "leftmost") if turned else ("right", "rightmost"), (OPPOSITE[relation],))
    return Case(shown(rng, scene), question, rule, f"the {relation} side", OPPOSITE[relation])


RELATION_FORMS: tuple[Form, ...] = (
    is_aside,
    is_over,
    is_sized,
    is_by_color,
    what_is_there,
    shape_there,
    color_there,
    where_is,
    most_sized,
    on_which_side,
)


# Existence, with distractors that have the colour or the shape


ASKED_KINDS = (
    "Is there {one}?",
    "Are there any {many}?",
    "Do you see {one}?",
    "Does the picture contain {one}?",
    "Is there {one} in the image?",
    "Can you find {one} here?",
)


def existence(rng: random.Random, shape: str, color: str, right: bool, question: str) -> Case:
    other_shape, other_color = another(rng, SHAPES, shape), another(rng, tuple(COLORS), color)
    wanted = [(shape, other_color), (other_shape, color)]
    third = (another(rng, SHAPES, shape), another(rng, tuple(COLORS), color))
    wanted.append((shape, color) if right else third)
    rng.shuffle(wanted)
    answers = ("yes", "no") if right else ("no", "yes")
    return Case(shown(rng, crowd(rng, wanted)), question, YesNo(right), *answers)


def kind_exists(form: str) -> Form:
    def made(rng: random.Random, turned: bool) -> Case:
        shape, color = rng.choice(SHAPES), rng.choice(tuple(COLORS))
        question = form.format(one=article(f"{color} {shape}"), many=f"{color} {plural(shape)}")
        return existence(rng, shape, color, turned, question)

    return made


def half_exists(rng: random.Random, turned: bool, by_color: bool) -> Case:
    (shape, color), *rest = kinds(rng, 4)
    rest = rest[: rng.randint(2, 3)]
    wanted = [(shape, color), *rest] if turned else rest
    if by_color:
        question = rng.choice((f"Is any of the shapes {color}?", f"Is anything in the picture {color}?"))
    else:
        question = rng.choice((f"Is there {article(shape)}?", f"Are there any {plural(shape)} in the picture?"))
    answers = ("yes", "no") if turned else ("no", "yes")
    return Case(shown(rng, crowd(rng, wanted, "white")), question, YesNo(turned), *answers)


def color_exists(rng: random.Random, turned: bool) -> Case:
    return half_exists(rng, not turned, True)


def shape_exists(rng: random.Random, turned: bool) -> Case:
    return half_exists(rng, turned, False)


def both_exist(rng: random.Random, turned: bool) -> Case:
    first, second = kinds(rng, 2)
    # Where it is not so, the two have each other's colour.
    wanted = [first, second] if turned else [first, (second[0], first[1]), (first[0], second[1])]
    question = f"Are there both {article(f'{first[1]} {first[0]}')} and {article(f'{second[1]} {second[0]}')}?"
    answers = ("yes", "no") if turned else ("no", "yes")
    return Case(shown(rng, crowd(rng, wanted)), question, YesNo(turned), *answers)


def both_attributes(rng: random.Random, turned: bool) -> Case:
    shape, color = rng.choice(SHAPES), rng.choice(tuple(COLORS))
    question = f"Is there anything that is both {color} and {article(shape)}?"
    return existence(rng, shape, color, not turned, question)


EXISTENCE: tuple[Form, ...] = (
    *map(kind_exists, ASKED_KINDS),
    color_exists,
    shape_exists,
    both_exist,
    both_attributes,
)


# Counting by attribute


def counted(rng: random.Random) -> tuple[Scene, list[tuple[str, str]], str, str]:
    """A scene of three to six shapes of few kinds, with a shape and a colour in it to ask about."""
    shapes, colors = rng.sample(SHAPES, 2), rng.sample(tuple(COLORS), 2)
    wanted = [(rng.choice(shapes), rng.choice(colors)) for _ in range(rng.randint(3, 6))]
    return crowd(rng, wanted), wanted, shapes[0], colors[0]


def counting(form: str, of: str) -> Form:
    def made(rng: random.Random, turned: bool) -> Case:
        scene, wanted, shape, color = counted(rng)
        other = next((s for s, _ in wanted if s != shape), another(rng, SHAPES, shape))
        count = {
            "color": sum(c == color for _, c in wanted),
            "shape": sum(s == shape for s, _ in wanted),
            "kind": sum((s, c) == (shape, color) for s, c in wanted),
            "all": len(wanted),
            "rest": sum(c != color for _, c in wanted),
            "colors": len({c for _, c in wanted}),
            "either": sum(s in (shape, other) for s, _ in wanted),
        }[of]
        question = form.format(color=color, shapes=plural(shape), others=plural(other))
        return Case(shown(rng, scene), question, Number(count), str(count), str(count + 1))

    return made


COUNTING: tuple[Form, ...] = (
    counting("How many {color} shapes are there?", "color"),
    counting("How many {shapes} are there?", "shape"),
    counting("How many {color} {shapes} are in the picture?", "kind"),
    counting("How many shapes are there in total?", "all"),
    counting("How many objects are not {color}?", "rest"),
    counting("Count the {shapes}.", "shape"),
    counting("What number of {color} things are there?", "color"),
    counting("number of {shapes}?", "shape"),
    counting("How many different colors do the shapes have?", "colors"),
    counting("How many {shapes} or {others} are there?", "either"),
)


# Attributes in one word, politely, clipped, and with slips


def slipped(rng: random.Random, text: str) -> str:
    """The text with two neighbouring letters inside one of its longer words swapped."""
    words = text.split()
    places = [i for i, word in enumerate(words) if len(word.strip("?.,")) >= 4]
    at = rng.choice(places)
    word = words[at]
    inside = [i for i in range(1, len(word.strip("?.,")) - 1) if word[i] != word[i + 1]]
    i = rng.choice(inside)
    words[at] = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return " ".join(words)


def attribute(form: str, of: str, slips: bool = False) -> Form:
    """A form that names {shape} or {color} is asked about one of two shapes, and any other form about a single one."""

    def made(rng: random.Random, turned: bool) -> Case:
        if "{" in form:
            scene, item, other = pair(rng, rng.choice(ASIDE))
            wrong = other.color if of == "color" else other.shape
        else:
            scene, item = single(rng)
            wrong = another(rng, tuple(COLORS) if of == "color" else SHAPES, item.color, item.shape)
        one_word = "word" in form
        rule: Rule = color_rule(item.color, (), one_word) if of == "color" else shape_rule(item.shape, (), one_word)
        question = form.format(shape=item.shape, color=item.color)
        question = slipped(rng, question) if slips else question
        return Case(shown(rng, scene), question, rule, item.color if of == "color" else item.shape, wrong)

    return made


def yes_no_word(rng: random.Random, turned: bool) -> Case:
    scene, first, second = pair(rng, rng.choice(ASIDE))
    color = first.color if turned else second.color
    question = f"Is the {first.shape} {color}? Answer yes or no."
    answers = ("yes", "no") if turned else ("no", "yes")
    return Case(shown(rng, scene), question, YesNo(turned, one_word=True), *answers)


ATTRIBUTES: tuple[Form, ...] = (
    attribute("What color is the {shape}? Answer with one word.", "color"),
    attribute("What shape is this? One word only.", "shape"),
    attribute("Could you please tell me what colour the {shape} is?", "color"),
    attribute("Hi! Would you mind telling me which shape is {color}? Thank you.", "shape"),
    attribute("color of {shape}", "color"),
    attribute("shape?", "shape"),
    attribute("What color is the {shape}?", "color", slips=True),
    attribute("Which shape in the picture is {color}?", "shape", slips=True),
    attribute("whats the colour", "color"),
    yes_no_word,
)
