"""Questions in plain words, one word and JSON: what is learned of an answer, and that answers agree with the scene."""

import json
import random
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.training.builders import SCENE
from training.config import Stage
from training.conversations import Conversation, Turn
from training.marks import GIVEN, unmarked
from training.model import IGNORE
from training.phrases import PHRASES
from training.plain_charts import PLAIN_CHARTS
from training.plain_shapes import PLAIN_SHAPES
from training.plainly import ask_plainly, some_tool
from training.scenes import make_scene
from training.tokenizer import prompt_tokens

BUNDLED = Path("src/foveal/bundled/foveal-mini/tokenizer.json")


@pytest.mark.parametrize("kind", [*PLAIN_SHAPES, *PLAIN_CHARTS])
def test_every_kind_can_be_asked_in_all_of_its_phrasings(kind: str) -> None:
    sorts = ("chart", "unnamed") if kind in PLAIN_CHARTS else ("shapes", "many", "plain")
    table = PLAIN_CHARTS | PLAIN_SHAPES
    scenes = [make_scene(sorts[seed % len(sorts)], seed, 0) for seed in range(12)]
    found = [one for seed in range(60) if (one := table[kind][1](random.Random(seed), scenes[seed % 12]))]
    assert found
    for template in (*PHRASES[kind].trained, *PHRASES[kind].held_out):
        assert template.format(colour="", **found[0].fill)


def test_alternatives_are_answered_by_the_one_that_is_true() -> None:
    """Above has the smaller y, left the smaller x."""
    for seed in range(300):
        found = PLAIN_SHAPES["plain_side"][1](random.Random(seed), SCENE)
        if (
            not found
            or (said := re.fullmatch(r"The (.+) is (above|below|left of|right of) the (.+)\.", found.answer)) is None
        ):
            continue
        first, second = (
            next(s for s in SCENE.shapes if name.endswith(s.kind) or s.colour in name) for name in said.group(1, 3)
        )
        axis, before = (1, "above") if said[2] in ("above", "below") else (0, "left of")
        assert (first.centre[axis] < second.centre[axis]) == (said[2] == before)


@pytest.mark.parametrize("sort", ["plain", "shapes", "many", "text", "chart", "unnamed", "photo"])
def test_answers_in_json_are_json(sort: str) -> None:
    for seed in range(40):
        rng = random.Random(seed)
        _, _, answer = ask_plainly(rng, make_scene(sort, seed, 0), ())
        if GIVEN in answer:
            assert isinstance(json.loads(unmarked(answer)), dict)


def test_keys_are_given_and_values_are_learned() -> None:
    tokenizer = Tokenizer.from_file(str(BUNDLED))
    answer = f'{GIVEN}{{"colour":{GIVEN} "red"}}'
    made = prompt_tokens(tokenizer, Conversation(None, (Turn("json", "What?", answer),)), [])
    learned = tokenizer.decode([token for token in made.labels if token != IGNORE])
    assert learned == ' "red"}'
    assert '{"colour": "red"}' in tokenizer.decode(made.ids)


def test_a_call_is_one_of_the_tool_that_the_model_was_told_of() -> None:
    scene = make_scene("plain", 3, 0)
    tool = some_tool(random.Random(1), scene)
    assert tool
    called = re.fullmatch(r"<tool_call>\n(.*)\n</tool_call>", unmarked(tool.call))
    assert called
    call = json.loads(called[1])
    told = json.loads(tool.preamble.split("\n")[1])
    assert call["name"] == told["name"]
    assert set(call["arguments"]) == set(told["parameters"]["required"])


def test_bars_without_names_are_called_by_colour_or_place() -> None:
    for seed in range(30):
        scene = make_scene("unnamed", seed, 0)
        assert scene.chart
        assert not scene.writings
        found = PLAIN_CHARTS["plain_which_bar"][1](random.Random(seed), scene)
        if found:
            tallest = max(range(len(scene.shapes)), key=lambda bar: scene.chart.values[bar] if scene.chart else 0)
            if "tallest" in found.answer:
                assert scene.shapes[tallest].colour in found.answer or "bar from the" in found.answer


def test_held_out_phrasings_are_not_trained() -> None:
    for kind in (*PLAIN_SHAPES, *PLAIN_CHARTS):
        assert not set(PHRASES[kind].trained) & set(PHRASES[kind].held_out)


def test_a_stage_with_minutes_brings_its_rate_down_by_then() -> None:
    stage = Stage("s", 1000, {"plain": 1}, 4, 1, 1e-3, 0.0, num_crops=[0], answers=True, minutes=2)
    assert stage.learning_rate(10, 60) == pytest.approx(5e-4)
    assert stage.learning_rate(10, 200) == 0
    assert stage.done(10, 120) == 1
    assert stage.done(500, 0) == 0.5
