"""Answers held to small random JSON schemas, and calls of tools."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from training.blind.cases import Case, another, chart, kinds, plural, shown, shown_chart, single
from training.blind.cases import crowd as crowded
from training.blind.drawing import COLORS, SHAPES, Item, Scene
from training.blind.grading import JsonAnswer, ToolCall
from training.blind.skills_charts import printed, some_word

Field = tuple[str, dict[str, Any], Any]
Form = Callable[[random.Random, bool], Case]
Kinds = Sequence[tuple[str, str]]
ASKED = (
    "Describe the picture as JSON.",
    "Fill in the fields.",
    "What is in the picture? Answer in JSON.",
    "Extract the data from this image.",
    "Return the JSON object for this picture.",
)


def enum(rng: random.Random, right: str, words: Sequence[str], most: int = 4) -> dict[str, Any]:
    """An enum of some of the words, the right one among them."""
    others = [word for word in words if word != right]
    some = [right, *rng.sample(others, min(len(others), rng.randint(1, most - 1)))]
    rng.shuffle(some)
    return {"type": "string", "enum": some}


def color_field(rng: random.Random, color: str, name: str = "") -> Field:
    schema = enum(rng, color, tuple(COLORS)) if rng.random() < 0.6 else {"type": "string"}
    return name or rng.choice(("color", "colour", "shape_color", "fill_color")), schema, color


def shape_field(rng: random.Random, shape: str) -> Field:
    schema = enum(rng, shape, SHAPES) if rng.random() < 0.7 else {"type": "string"}
    return rng.choice(("shape", "shape_name", "kind_of_shape")), schema, shape


def count_field(rng: random.Random, all_of: Kinds) -> Field:
    names = ("number_of_shapes", "shape_count", "total_shapes", "how_many_shapes")
    return rng.choice(names), {"type": "integer"}, len(all_of)


def some_count_field(rng: random.Random, all_of: Kinds) -> Field:
    shape, color = rng.choice(all_of)
    if rng.random() < 0.5:
        return f"number_of_{plural(shape)}", {"type": "integer"}, sum(s == shape for s, _ in all_of)
    return f"{color}_shapes", {"type": "integer", "minimum": 0}, sum(c == color for _, c in all_of)


def has_field(rng: random.Random, all_of: Kinds) -> Field:
    if rng.random() < 0.5:
        shape = rng.choice(SHAPES)
        return f"has_{shape}", {"type": "boolean"}, any(s == shape for s, _ in all_of)
    color = rng.choice(tuple(COLORS))
    return f"contains_{color}", {"type": "boolean"}, any(c == color for _, c in all_of)


def list_field(rng: random.Random, all_of: Kinds) -> Field:
    properties: dict[str, Any] = {"shape": {"type": "string"}, "color": {"type": "string"}}
    if rng.random() < 0.5:
        properties = {"shape": {"enum": list(SHAPES)}, "color": {"enum": list(COLORS)}}
    item = {"type": "object", "properties": properties, "required": ["shape", "color"], "additionalProperties": False}
    right = [{"shape": shape, "color": color} for shape, color in all_of]
    return rng.choice(("shapes", "objects", "items")), {"type": "array", "items": item}, right


def held(picture: bytes, rng: random.Random, fields: Sequence[Field]) -> Case:
    """A case held to an object of these fields."""
    schema = {
        "type": "object",
        "properties": {name: made for name, made, _ in fields},
        "required": [name for name, _, _ in fields],
        "additionalProperties": False,
    }
    right = {name: value for name, _, value in fields}
    named = {"name": rng.choice(("answer", "picture", "result")), "strict": True, "schema": schema}
    extra = {"response_format": {"type": "json_schema", "json_schema": named}}
    return Case(picture, rng.choice(ASKED), JsonAnswer(right), json.dumps(right), "{}", extra)


def of_single(rng: random.Random, count: int) -> Case:
    scene, item = single(rng)
    all_of = [(item.shape, item.color)]
    fields = [
        color_field(rng, item.color),
        shape_field(rng, item.shape),
        has_field(rng, all_of),
        count_field(rng, all_of),
    ]
    return held(shown(rng, scene), rng, rng.sample(fields, count))


def one_enum(rng: random.Random, turned: bool) -> Case:
    scene, item = single(rng)
    field: Field = ("color", enum(rng, item.color, tuple(COLORS)), item.color)
    if turned:
        field = ("shape", enum(rng, item.shape, SHAPES), item.shape)
    return held(shown(rng, scene), rng, [field])


def two_of_single(rng: random.Random, turned: bool) -> Case:
    return of_single(rng, 2)


def three_of_single(rng: random.Random, turned: bool) -> Case:
    return of_single(rng, 3)


def one_boolean(rng: random.Random, turned: bool) -> Case:
    all_of = kinds(rng, 2)
    shape, color = all_of[0] if turned else (another(rng, SHAPES, *(s for s, _ in all_of)), all_of[0][1])
    field: Field = (f"has_{color}_{shape}", {"type": "boolean"}, turned)
    return held(shown(rng, crowded(rng, all_of)), rng, [field])


def of_several(rng: random.Random, turned: bool) -> Case:
    shapes, colors = rng.sample(SHAPES, 2), rng.sample(tuple(COLORS), 2)
    all_of = [(rng.choice(shapes), rng.choice(colors)) for _ in range(rng.randint(2, 5))]
    fields = [count_field(rng, all_of), some_count_field(rng, all_of), has_field(rng, all_of)]
    return held(shown(rng, crowded(rng, all_of)), rng, rng.sample(fields, 2))


def colors_of_two(rng: random.Random, turned: bool) -> Case:
    all_of = kinds(rng, 2)
    fields = [color_field(rng, color, f"{shape}_color") for shape, color in all_of]
    return held(shown(rng, crowded(rng, all_of)), rng, fields)


def listed(rng: random.Random, turned: bool) -> Case:
    all_of = kinds(rng, 2 if turned else 1)
    return held(shown(rng, crowded(rng, all_of)), rng, [list_field(rng, all_of)])


def of_chart(rng: random.Random, turned: bool) -> Case:
    bars = chart(rng)
    tallest = bars.colors[bars.heights.index(max(bars.heights))]
    shortest = bars.colors[bars.heights.index(min(bars.heights))]
    fields: list[Field] = [
        ("number_of_bars", {"type": "integer"}, len(bars.colors)),
        color_field(rng, tallest, "tallest_bar_color"),
        color_field(rng, shortest, "shortest_bar_color"),
    ]
    return held(shown_chart(rng, bars), rng, rng.sample(fields, 1 + turned))


def of_word(rng: random.Random, turned: bool) -> Case:
    word, other = some_word(rng), some_word(rng)
    fields: list[Field] = [(rng.choice(("text", "word")), {"type": "string"}, word)]
    if turned and other != word:
        fields.append((f"says_{other}", {"type": "boolean"}, False))
    return held(printed(rng, ((word.upper(), "black"),)), rng, fields)


def of_ground(rng: random.Random, turned: bool) -> Case:
    on = "black" if turned else "white"
    scene, item = single(rng, on)
    fields: list[Field] = [
        ("background", {"type": "string", "enum": ["black", "white"]}, on),
        color_field(rng, item.color),
    ]
    return held(shown(rng, scene), rng, fields)


JSON: tuple[Form, ...] = (
    one_enum,
    two_of_single,
    three_of_single,
    one_boolean,
    of_several,
    colors_of_two,
    listed,
    of_chart,
    of_word,
    of_ground,
)


# Tools


def function(name: str, about: str, properties: dict[str, Any]) -> dict[str, Any]:
    """A tool of chat completions."""
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}


COLOR_SCHEMA: dict[str, Any] = {"type": "string", "enum": list(COLORS)}
SHAPE_SCHEMA: dict[str, Any] = {"type": "string", "enum": list(SHAPES)}
TEXT_SCHEMA: dict[str, Any] = {"type": "string"}
WHOLE_SCHEMA: dict[str, Any] = {"type": "integer"}
REPORTS = {
    "report_color": function("report_color", "Report the color of the shape.", {"color": COLOR_SCHEMA}),
    "report_shape": function("report_shape", "Report which shape it is.", {"shape": SHAPE_SCHEMA}),
    "report_count": function("report_count", "Report how many shapes there are.", {"count": WHOLE_SCHEMA}),
    "report_text": function("report_text", "Report the word that is written.", {"text": TEXT_SCHEMA}),
    "report_item": function(
        "report_item", "Report a shape and its color.", {"shape": SHAPE_SCHEMA, "color": COLOR_SCHEMA}
    ),
    "report_presence": function(
        "report_presence", "Report whether it is in the picture.", {"present": {"type": "boolean"}}
    ),
    "report_bar": function("report_bar", "Report the color of the tallest bar.", {"color": COLOR_SCHEMA}),
    "report_side": function(
        "report_side", "Report on which side the shape is.", {"side": {"type": "string", "enum": ["left", "right"]}}
    ),
}


def seen(rng: random.Random, name: str) -> tuple[bytes, str, dict[str, Any]]:
    """A picture for a tool, a question that fits it, and the right arguments."""
    if name == "report_text":
        word = some_word(rng)
        return printed(rng, ((word.upper(), "black"),)), "What does it say?", {"text": word}
    if name == "report_bar":
        bars = chart(rng)
        right = bars.colors[bars.heights.index(max(bars.heights))]
        return shown_chart(rng, bars), "What color is the tallest bar?", {"color": right}
    if name == "report_count":
        all_of = [(rng.choice(SHAPES), rng.choice(tuple(COLORS))) for _ in range(rng.randint(1, 5))]
        return shown(rng, crowded(rng, all_of)), "How many shapes are there?", {"count": len(all_of)}
    return seen_shapes(rng, name)


def seen_shapes(rng: random.Random, name: str) -> tuple[bytes, str, dict[str, Any]]:
    """The same for the tools about one shape or two."""
    if name == "report_presence":
        all_of, present = kinds(rng, 3), rng.random() < 0.5
        shape, color = all_of.pop()
        all_of += [(shape, color)] if present else []
        return (
            shown(rng, crowded(rng, all_of)),
            f"Is there a {color} {shape}?".replace("a o", "an o"),
            {"present": present},
        )
    if name == "report_side":
        from_left = kinds(rng, 2)
        asked = rng.randrange(2)
        picture = shown(rng, two_aside(rng, from_left))
        return picture, f"On which side is the {from_left[asked][0]}?", {"side": ("left", "right")[asked]}
    scene, item = single(rng)
    questions: dict[str, tuple[str, dict[str, Any]]] = {
        "report_color": ("What color is the shape?", {"color": item.color}),
        "report_shape": ("Which shape is this?", {"shape": item.shape}),
        "report_item": ("Which shape is it, and in what color?", {"shape": item.shape, "color": item.color}),
    }
    return shown(rng, scene), *questions[name]


def two_aside(rng: random.Random, from_left: Kinds) -> Scene:
    """Two shapes side by side."""
    items = [Item(shape, color, x, 0.5, 0.16) for (shape, color), x in zip(from_left, (0.25, 0.75), strict=True)]
    return Scene(tuple(items))


def calling(name: str) -> Form:
    """Half of the calls are of a named tool, and the other half leave the choice among two or three."""

    def made(rng: random.Random, turned: bool) -> Case:
        picture, question, right = seen(rng, name)
        others = [other for other in REPORTS if not fits(other, name)]
        names = [name, *rng.sample(others, rng.randint(0 if turned else 1, 2))]
        rng.shuffle(names)
        choice: Any = {"type": "function", "function": {"name": name}} if turned else "required"
        extra = {"tools": [REPORTS[other] for other in names], "tool_choice": choice}
        return Case(picture, question, ToolCall(name, right), json.dumps(right), "{}", extra, call=name)

    return made


def fits(tool: str, name: str) -> bool:
    """Whether a tool could be meant where the other one is."""
    about_shape = ("report_color", "report_shape", "report_item")
    return (
        tool == name or (tool in about_shape and name in about_shape) or {tool, name} == {"report_bar", "report_color"}
    )


def conditional(rng: random.Random, turned: bool) -> Case:
    """What is in the picture decides which of two tools is called; neither has arguments."""
    scene, item = single(rng)
    asked = item.color if rng.random() < 0.5 else another(rng, tuple(COLORS), item.color)
    right = "open_gate" if asked == item.color else "close_gate"
    question = f"If the shape is {asked}, call open_gate, otherwise call close_gate."
    tools = [function("open_gate", "Open the gate.", {}), function("close_gate", "Close the gate.", {})]
    extra = {"tools": tools, "tool_choice": "required"}
    return Case(shown(rng, scene), question, ToolCall(right, {}), "{}", "[]", extra, call=right)


def conveyed(rng: random.Random, turned: bool) -> Case:
    """A tool of another kind, which has more than one argument of its own."""
    scene, item = single(rng)
    name, about = rng.choice((("sort_part", "Put the part into the box of its color."), ("log_part", "Note the part.")))
    properties = (
        {"box": COLOR_SCHEMA, "part": SHAPE_SCHEMA}
        if name == "sort_part"
        else {"color": TEXT_SCHEMA, "shape": TEXT_SCHEMA}
    )
    keys = tuple(properties) if name == "sort_part" else ("color", "shape")
    right = dict(zip(keys, (item.color, item.shape), strict=True))
    choice: Any = {"type": "function", "function": {"name": name}} if turned else "required"
    extra = {"tools": [function(name, about, properties)], "tool_choice": choice}
    question = "Handle the part in the picture."
    return Case(shown(rng, scene), question, ToolCall(name, right), json.dumps(right), "{}", extra, call=name)


TOOLS: tuple[Form, ...] = (*map(calling, REPORTS), conditional, conveyed)
