"""engine/ending.py and Constraint: answers held to a schema come to an end within max_tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from llguidance import LLMatcher

from foveal.engine.ending import Endings
from foveal.engine.grammar import Constraint, Grammars, translate
from foveal.engine.sampler import Row, sample
from foveal.types import Grammar, SamplingParams
from tests.builders import byte_tokenizer

TOKENIZER = byte_tokenizer(("<|end|>",))
[END] = TOKENIZER.encode("<|end|>", add_special_tokens=False).ids
VOCAB_SIZE = TOKENIZER.get_vocab_size()
SCENE = {
    "type": "object",
    "properties": {
        "shapes": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        },
        "count": {"type": "integer"},
    },
    "required": ["shapes", "count"],
}
TREE = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["children"],
}


@pytest.fixture
def grammars(tmp_path: Path) -> Grammars:
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    return Grammars(tmp_path)


def start(grammars: Grammars, schema: object, max_tokens: int) -> Constraint:
    return grammars.start(translate(Grammar("json_schema", json.dumps(schema))), (END,), max_tokens)


def answer_of(constraint: Constraint, max_tokens: int, seed: int) -> list[int]:
    """A model that never wants to end: any allowed token but the stop token, by chance; what opens is likelier."""
    random, tokens = np.random.default_rng(seed), list[int]()
    opening = TOKENIZER.encode('{["', add_special_tokens=False).ids
    while len(tokens) < max_tokens:
        allowed_V = constraint.allowed(tokens, VOCAB_SIZE)
        if allowed_V[END]:
            return tokens
        wanted = [token_id for token_id in opening if allowed_V[token_id]]
        choices = wanted if wanted and random.random() < 0.5 else allowed_V.nonzero()[0]
        tokens.append(int(random.choice(choices)))
    return tokens


@pytest.mark.parametrize("schema", [SCENE, TREE, {"type": "object"}, {"type": "string"}], ids=str)
@pytest.mark.parametrize("max_tokens", [100, 300])
@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_never_ends_is_led_to_the_end(
    grammars: Grammars, schema: object, max_tokens: int, seed: int
) -> None:
    tokens = answer_of(start(grammars, schema, max_tokens), max_tokens, seed)
    assert len(tokens) < max_tokens  # one is left for the stop token
    json.loads(TOKENIZER.decode(tokens))


def test_a_way_out_is_seldom_looked_for_far_from_the_end_and_followed_without_a_look(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, find = list[object](), Endings.way_out

    def counted(self: Endings, matcher: LLMatcher) -> list[int] | None:
        looks.append(matcher)
        return find(self, matcher)

    monkeypatch.setattr(Endings, "way_out", counted)

    letter = TOKENIZER.encode("a", add_special_tokens=False).ids[0]
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}

    constraint, tokens = start(grammars, schema, 1000), list[int]()
    while not (allowed_V := constraint.allowed(tokens, VOCAB_SIZE))[END]:
        tokens.append(letter if allowed_V[letter] else int(allowed_V.argmax()))

    assert 900 < len(tokens) < 1000
    assert len(looks) < 100


def test_nothing_is_forced_while_there_is_room(grammars: Grammars) -> None:
    constraint = start(grammars, {"enum": ["yes", "no"]}, 100)
    assert constraint.allowed(TOKENIZER.encode('"', add_special_tokens=False).ids, VOCAB_SIZE).sum() == 2


def test_the_way_out_is_the_same_after_a_restart(grammars: Grammars) -> None:
    tokens = answer_of(start(grammars, SCENE, 200), 200, seed=1)
    stepwise = start(grammars, SCENE, 200)
    for length in range(len(tokens)):
        again = start(grammars, SCENE, 200).allowed(tokens[:length], VOCAB_SIZE)
        assert np.array_equal(stepwise.allowed(tokens[:length], VOCAB_SIZE), again)


@pytest.mark.parametrize(
    ("written", "closing"),
    [('{"shapes":[{"name":"a re', '"'), ('{"shapes":[', "]"), ('{"shapes":[],"count":5', "}"), ('{"shapes"', None)],
)
def test_what_closes_what_is_open(grammars: Grammars, written: str, closing: str | None) -> None:
    constraint = start(grammars, SCENE, 1000)
    constraint.allowed(TOKENIZER.encode(written, add_special_tokens=False).ids, VOCAB_SIZE)
    assert constraint.closing == (closing and TOKENIZER.encode(closing, add_special_tokens=False).ids[0])


def test_a_model_that_wants_to_stop_closes_what_is_open() -> None:
    logits_NV = torch.tensor([[1.0, 9.0, 2.0, 3.0]])  # token 1 stops, 2 closes, 3 goes on
    row = Row(SamplingParams(max_tokens=5, temperature=0, stop_token_ids=(1,)), [0], 1)
    allowed_V = torch.tensor([True, False, True, True])
    [going_on] = sample(logits_NV, [row._replace(allowed_V=allowed_V)])
    [closing] = sample(logits_NV, [row._replace(allowed_V=allowed_V, closing=2)])
    assert (going_on and going_on.token_id, closing and closing.token_id) == (3, 2)
