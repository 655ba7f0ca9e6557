"""Pictures asked about as users of an API do: in plain words, in one word, as JSON, with a tool.

JSON is what the server's grammar holds answers to: nobody tells the model of a schema, so keys are given to it and only
values are learned, unless the question asks for JSON itself.
"""

import json
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from foveal.conversation.tools.form import HERMES
from foveal.conversation.tools.preamble import preamble, written_call
from foveal.types import Tool
from training import marks
from training.facts import NUMBERS, Found, Table, capital, listing, other, plural
from training.marks import GIVEN
from training.phrases import PLAIN
from training.plain_charts import PLAIN_CHARTS
from training.plain_shapes import PLAIN_SHAPES
from training.questions import ask_anything, phrase
from training.scene import Scene, Shape
from training.shape_questions import in_order, mark, place_of
from training.shapes import KINDS

Value = str | int | list[dict[str, str]]
Values = Mapping[str, Value]
TOOL_SHARE = 0.05  # of the conversations
ONE_WORD_SHARE, JSON_SHARE, RECORD_SHARE = 0.12, 0.16, 0.12  # of the questions
ANSWER_KEYS = ("answer", "answer", "result", "value", "response", "reply", "output")
KEYS = {
    "colour": ("colour", "color", "main_colour", "fill", "hue"),
    "shape": ("shape", "kind", "form", "type", "shape_name"),
    "position": ("position", "place", "where", "location"),
    "background": ("background", "background_colour", "backdrop"),
    "count": ("count", "total", "number_of_shapes", "num_shapes", "how_many"),
    "shapes": ("shapes", "objects", "items", "things"),
    "text": ("text", "word", "reading", "content"),
    "num_bars": ("num_bars", "bars", "bar_count", "number_of_bars"),
    "tallest": ("tallest", "tallest_bar", "highest_bar", "max"),
}
TOOL_NAMES = ("report", "save_picture", "record_shape", "describe", "log_result", "submit", "tag_image", "store_facts")


@dataclass(frozen=True)
class Called:
    """A tool about a picture: what the model is told, and the call that is right."""

    preamble: str
    call: str


def ask_plainly(
    rng: random.Random, scene: Scene, taken: Collection[str], tool: Called | None = None, held_out: bool = False
) -> tuple[str, str, str]:
    """A kind, a question that is not taken if there is one, and its answer."""
    if tool and rng.random() < 0.7:
        question, answer = phrase(rng, "call", Found({}, tool.call), held_out)
        return "call", question, answer
    if rng.random() < RECORD_SHARE and (fields := _fields(rng, scene)):
        return "record", *_record(rng, fields, held_out)
    for attempt in range(60):
        table = _table(scene)
        if not table:
            break
        kind = rng.choices(list(table), [weight for weight, _ in table.values()])[0]
        found = table[kind][1](rng, scene)
        if found and (asked := _phrased(rng, kind, found, held_out)) and (asked[1] not in taken or attempt > 20):
            return asked
    return ask_anything(rng, scene, taken)


def _table(scene: Scene) -> Table:
    if scene.photo_colours or (scene.writings and not scene.shapes):
        return {}
    return PLAIN_CHARTS if scene.chart else PLAIN_SHAPES


def _phrased(rng: random.Random, kind: str, found: Found, held_out: bool) -> tuple[str, str, str]:
    question, answer = phrase(rng, kind, found, held_out)
    if found.short is None:
        return kind, question, answer
    chance = rng.random()
    if chance < ONE_WORD_SHARE and " " not in str(found.short):
        return "one_word", question + rng.choice(PLAIN["one_word"]), _one_word(found.short)
    if chance > 1 - JSON_SHARE:
        return "json", question, _object({rng.choice(ANSWER_KEYS): found.short})
    return kind, question, answer


def _one_word(short: str | int) -> str:
    if isinstance(short, bool):
        return "Yes." if short else "No."
    return f"{capital(short if isinstance(short, str) else NUMBERS[short])}."


def _record(rng: random.Random, fields: dict[str, Value], held_out: bool) -> tuple[str, str]:
    """Some of the fields as JSON. A question that names them gets all of it from the model."""
    names = rng.sample(list(fields), rng.randint(1, min(3, len(fields))))
    keys = {rng.choice(KEYS[name]) if name in KEYS else name: fields[name] for name in names}
    if rng.random() < 0.25:
        found = Found({"keys": listing(keys)}, _object(keys).replace(GIVEN, ""))
        question, answer = phrase(rng, "record_keys", found, held_out)
        return question, GIVEN * 2 + answer
    question, _ = phrase(rng, "record", Found({}, ""), held_out)
    return question, _object(keys)


def _object(values: Values) -> str:
    """Compact JSON with keys that are given; after the model's values it closes or goes on by itself."""
    parts = [f"{GIVEN}{'{' if not place else ', '}{json.dumps(key)}:{GIVEN} {_json(value)}"
             for place, (key, value) in enumerate(values.items())]  # fmt: skip
    return "".join(parts) + "}"


def _json(value: Value) -> str:
    if isinstance(value, list):
        objects = map(_object, value)
        return f"[{', '.join(objects)}]"
    return f'"{value}"' if isinstance(value, str) else json.dumps(value)


def _fields(rng: random.Random, scene: Scene) -> dict[str, Value]:
    """What a form about the picture could ask for."""
    if scene.photo_colours:
        return {}
    if scene.chart:
        return _fields_of_chart(scene)
    found: dict[str, Value] = {"background": scene.background}
    if scene.writings and not scene.shapes:
        return found | ({"text": marks.reading(scene.text, 0)} if len(scene.writings) == 1 else {})
    if len(scene.shapes) == 1:
        (shape,) = scene.shapes
        found |= {"colour": _marked(scene, shape, shape.colour), "shape": _marked(scene, shape, shape.kind)}
        if place := place_of(scene, shape):
            found["position"] = place.removeprefix("at the ").removeprefix("in the ")
    elif 1 < len(scene.shapes) <= 4:
        each = [{"shape": _marked(scene, one, one.kind), "colour": one.colour} for one in in_order(scene)]
        found["shapes"] = [dict(reversed(entry.items())) for entry in each] if rng.random() < 0.5 else each
    return found | _counted(rng, scene)


def _counted(rng: random.Random, scene: Scene) -> dict[str, Value]:
    """Numbers of shapes, and whether there is one of a kind."""
    if not scene.shapes:
        return {}
    kind, shown = rng.choice(scene.shapes).kind, {shape.kind for shape in scene.shapes}
    return {
        "count": len(scene.shapes),
        plural(kind): sum(shape.kind == kind for shape in scene.shapes),
        f"has_{kind}": True,
        f"has_{other(rng, KINDS, shown)}": False,
    }


def _fields_of_chart(scene: Scene) -> dict[str, Value]:
    chart = scene.chart
    assert chart
    found: dict[str, Value] = {"num_bars": len(chart.values)}
    highest = max(range(len(chart.values)), key=lambda bar: chart.values[bar])
    if chart.labels and chart.is_legible:
        before = marks.letters_in((chart.title, *chart.labels[:highest], *(
            map(str, chart.values[:highest]) if chart.shows_values else ())))  # fmt: skip
        found["tallest"] = marks.reading(chart.labels[highest], before)
    elif len({bar.colour for bar in scene.shapes}) == len(scene.shapes):
        found["tallest"] = marks.shape(highest) + scene.shapes[highest].colour
    return found


def _marked(scene: Scene, shape: Shape, name: str) -> str:
    return mark(scene, shape) + name


def some_tool(rng: random.Random, scene: Scene) -> Called | None:
    """A tool with one to three fields of the picture as its arguments; None if it has none."""
    fields = {name: value for name, value in _fields(rng, scene).items() if not isinstance(value, list)}
    if not fields:
        return None
    names = rng.sample(list(fields), min(len(fields), rng.randint(1, 3)))
    keys = {rng.choice(KEYS[name]) if name in KEYS else name: fields[name] for name in names}
    types = {key: {"type": _type(value)} for key, value in keys.items()}
    schema = {"type": "object", "properties": types, "required": list(types)}
    name = rng.choice(TOOL_NAMES)
    told = Tool(name, rng.choice(("", "Reports what a picture shows.")), json.dumps(schema))
    call = written_call(name, _object(keys).replace(GIVEN, ""), HERMES)
    return Called(preamble([told], HERMES), GIVEN * 2 + call)


def _type(value: Value) -> str:
    return "boolean" if isinstance(value, bool) else "integer" if isinstance(value, int) else "string"
