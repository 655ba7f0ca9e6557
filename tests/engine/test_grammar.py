"""engine/grammar.py: which tokens may come next."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from foveal.engine.grammar import MAX_NUM_CACHED, GrammarError, Grammars, translate
from foveal.models.hub import BUNDLED_FOLDER
from foveal.types import Grammar
from tests.builders import byte_tokenizer

SPECIAL = ("<|end|>", "<|image|>")
TOKENIZER = byte_tokenizer(SPECIAL)
[END] = TOKENIZER.encode("<|end|>", add_special_tokens=False).ids
VOCAB_SIZE = TOKENIZER.get_vocab_size()
SHORT_WORDS = Grammar("grammar", 'root ::= "a" ("b" | "c")?')
AMBIGUOUS = Grammar("grammar", 'start: s\ns: s s | s s s | "a" | "b" | /[a-z]/ | ""')


@pytest.fixture
def grammars(tmp_path: Path) -> Grammars:
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    return Grammars(tmp_path)


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False).ids


def names(allowed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> set[str]:
    return {str(TOKENIZER.id_to_token(int(token_id))) for token_id in allowed.nonzero()[0]}


def schema(**fields: object) -> Grammar:
    return Grammar("json_schema", json.dumps(fields))


@pytest.mark.parametrize(
    ("output", "expected"),
    [("", {"a"}), ("a", {"b", "c", "<|end|>"}), ("ab", {"<|end|>"})],
)
def test_what_may_come_next_and_when_the_answer_may_end(grammars: Grammars, output: str, expected: set[str]) -> None:
    constraint = grammars.start(translate(SHORT_WORDS), (END,), 10_000)
    assert names(constraint.allowed(ids(output), VOCAB_SIZE)) == expected


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        (schema(type="object"), '{"a": [1, "x"]}', "["),
        (schema(type="integer", minimum=3, maximum=12), "12", "2"),
        (schema(enum=["red", "green"]), '"green"', '"blue"'),
        (Grammar("grammar", 'start: "x" /[0-9]{2}/'), "x42", "xx"),
        (Grammar("grammar", 'root ::= "x" [0-9] [0-9]'), "x42", "x4x"),
    ],
)
def test_schemas_lark_and_gbnf_hold_an_answer(grammars: Grammars, grammar: Grammar, good: str, bad: str) -> None:
    text = translate(grammar)
    assert grammars.start(text, (END,), 10_000).allowed(ids(good), VOCAB_SIZE)[END]
    with pytest.raises(GrammarError):
        grammars.start(text, (END,), 10_000).allowed(ids(bad), VOCAB_SIZE)


def test_white_space_does_not_go_on_without_end(grammars: Grammars) -> None:
    text = translate(schema(type="object"))
    assert "Ġ" in names(grammars.start(text, (END,), 10_000).allowed(ids('{"a":'), VOCAB_SIZE))
    assert "Ġ" not in names(grammars.start(text, (END,), 10_000).allowed(ids('{"a": '), VOCAB_SIZE))


def test_a_constraint_that_goes_on_is_like_one_that_starts_again(grammars: Grammars) -> None:
    text, answer = translate(schema(type="array", items={"type": "integer"})), ids("[12, 3]")
    stepwise = grammars.start(text, (END,), 10_000)
    for length in range(len(answer) + 1):
        again = grammars.start(text, (END,), 10_000).allowed(answer[:length], VOCAB_SIZE)
        assert np.array_equal(stepwise.allowed(answer[:length], VOCAB_SIZE), again)
        assert np.array_equal(stepwise.allowed(answer[:length], VOCAB_SIZE), again)


def test_end_tokens_before_the_grammar_is_complete_are_ignored(grammars: Grammars) -> None:
    constraint = grammars.start(translate(SHORT_WORDS), (END,), 10_000)
    assert names(constraint.allowed([*ids("a"), END], VOCAB_SIZE)) == {"b", "c", "<|end|>"}


@pytest.mark.parametrize("vocab_size", [VOCAB_SIZE - 1, VOCAB_SIZE + 100])
def test_a_model_may_know_fewer_or_more_tokens_than_its_tokenizer(grammars: Grammars, vocab_size: int) -> None:
    allowed = grammars.start(translate(SHORT_WORDS), (END,), 10_000).allowed((), vocab_size)
    assert (len(allowed), names(allowed)) == (vocab_size, {"a"})


@pytest.mark.parametrize(
    ("grammar", "part"),
    [
        (Grammar("json_schema", "{"), "not JSON"),
        (Grammar("grammar", "}{"), "Expected name"),
        (schema(type="nonsense"), "must be one of"),
        (schema(type="string", pattern="(?=a)b"), "look-around"),
        (Grammar("json_schema", '{"$ref":"http://127.0.0.1/x"}'), "names nothing in this schema"),
        (Grammar("json_schema", '{"items":' * 150 + "{}" + "}" * 150), "nested deeper"),
    ],
)
def test_a_grammar_that_cannot_be_used_is_said_in_one_line(grammars: Grammars, grammar: Grammar, part: str) -> None:
    with pytest.raises(GrammarError, match=part) as caught:
        grammars.start(translate(grammar), (END,), 10_000)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_an_ambiguous_grammar_runs_out_of_fuel() -> None:
    """Each token makes its next mask dearer. What a mask may cost is counted in items, not in time."""
    grammars = Grammars(BUNDLED_FOLDER)  # a vocabulary with words in it
    [a] = Tokenizer.from_file(str(BUNDLED_FOLDER / "tokenizer.json")).encode("a", add_special_tokens=False).ids
    constraint = grammars.start(translate(AMBIGUOUS), (END,), 10_000)
    with pytest.raises(GrammarError, match="Too many items"):
        _ = [constraint.allowed([a] * length, 1024) for length in range(100)]


def test_a_schema_with_many_optional_properties_is_not_too_complex(grammars: Grammars) -> None:
    properties = {f"property_{i}": {"type": ["string", "number", "null"]} for i in range(200)}
    constraint = grammars.start(translate(schema(type="object", properties=properties)), (END,), 10_000)
    assert "}" in names(constraint.allowed(ids('{"property_199": 1.5'), VOCAB_SIZE))


def test_only_the_latest_grammars_are_kept_ready(grammars: Grammars) -> None:
    for number in range(MAX_NUM_CACHED + 5):
        grammars.start(translate(schema(const=number)), (END,), 10_000)
    assert len(grammars._ready) == MAX_NUM_CACHED
