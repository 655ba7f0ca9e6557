"""Text -> ids equals the tokenizers library on the whole text; typed special tokens are text; ids -> bytes -> text."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from foveal.conversation.tokenizer import Run, Tokenizer, load_tokenizer
from foveal.errors import CheckpointError
from tests.conversation.builders import KINDS, backend, tokenizer

_TEXTS = [
    "",
    "a",
    "hello world",
    " two  spaces ",
    "\nline\n\nbreak\n",
    "\u3000wide\u00a0space\x1c",
    "naïve 你好 🙂🙂",
    "▁mark",
    "\x00\x02\x03",
]
_MARKUP = ["<s>", "<|user|>", "<|user|>!", "<|end|>", "<|assistant|>", "\n", " ", ": "]
_TYPED = ["<|end|>", "<s>", "<|user|>!", "<|image|>", "a<|end|>b", "</s><unk>", "<0x41>"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", _TEXTS)
def test_plain_text_is_encoded_as_the_library_does(kind: str, text: str) -> None:
    assert tokenizer(kind).encode([Run(text, is_markup=False)]) == _reference(kind, text)


@pytest.mark.parametrize("kind", KINDS)
def test_runs_are_encoded_as_the_library_encodes_the_whole_text(kind: str) -> None:
    chance = random.Random(7)
    for _ in range(300):
        runs = [
            Run(chance.choice(_MARKUP), is_markup=True)
            if chance.random() < 0.5
            else Run(chance.choice(_TEXTS), is_markup=False)
            for _ in range(chance.randrange(8))
        ]
        assert tokenizer(kind).encode(runs) == _reference(kind, "".join(run.text for run in runs)), runs


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "prepend"])  # whose marks swallow line breaks
@pytest.mark.parametrize("seed", range(3))
def test_added_tokens_that_are_not_special_are_found_wherever_the_library_finds_them(kind: str, seed: int) -> None:
    subject, library, chance = Tokenizer(_with_ordinary(kind)), _with_ordinary(kind), random.Random(seed)
    for _ in range(200):
        runs = [
            Run(chance.choice(["<s>", "<|user|>", "<|user|>!", "\n", "\n\n", " "]), is_markup=True)
            if chance.random() < 0.5
            else Run(chance.choice(["a", "<table>", "\n", "\n\nx", "<b>", " <b>", "the <table> b", "shape<|"]), False)
            for _ in range(chance.randrange(8))
        ]
        expected = library.encode("".join(run.text for run in runs), add_special_tokens=False).ids
        assert subject.encode(runs) == expected, runs


def test_a_reserved_token_is_text_to_people_and_a_token_to_markup() -> None:
    subject = Tokenizer(_with_ordinary("byte_level")).reserving(["<table>", "no token"])
    markup, text = subject.encode([Run("<table>", True)]), subject.encode([Run("<table><b>", False)])
    assert markup == [subject.token_id("<table>")]
    assert subject.token_id("<table>") not in text
    assert text[-1] == subject.token_id("<b>")
    assert subject.decode(text) == "<table><b>"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("typed", _TYPED)
def test_a_typed_special_token_is_text(kind: str, typed: str) -> None:
    subject = tokenizer(kind)
    token_ids = subject.encode([Run("<|user|>", is_markup=True), Run(typed, is_markup=False)])
    assert [subject.is_special(token_id) for token_id in token_ids] == [True] + [False] * (len(token_ids) - 1)
    assert b"".join(map(subject.token_bytes, token_ids[1:])).decode().removeprefix(" ") == typed


def test_only_the_first_stretch_of_a_text_gets_the_prefix_of_metaspace_first() -> None:
    subject, word = tokenizer("metaspace_first"), [Run("the", is_markup=False)]
    texts = [subject.decode(subject.encode(word, at_start=start), continues=True) for start in (True, False)]
    assert texts == [" the", "the"]


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_is_the_library_s(kind: str) -> None:
    token_ids = tokenizer(kind).encode([Run("<s>", is_markup=True), Run("naïve 你好 🙂 the shape", is_markup=False)])
    assert tokenizer(kind).decode(token_ids) == backend(kind).decode(token_ids, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("kind", "alone", "continued"),
    [("byte_level", " the", " the"), ("prepend", "the", " the"), ("unprefixed", " the", " the")],
)
def test_the_first_space_is_dropped_from_a_text_of_its_own_alone(kind: str, alone: str, continued: str) -> None:
    subject = tokenizer(kind)
    token_ids = subject.encode([Run(" the" if kind != "prepend" else "the", is_markup=False)])
    assert (subject.decode(token_ids), subject.decode(token_ids, continues=True)) == (alone, continued)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_outside_the_vocabulary_have_no_bytes(kind: str) -> None:
    subject = tokenizer(kind)
    assert subject.token_bytes(subject.vocab_size) == b""
    assert subject.token_bytes(subject.vocab_size - 1) == b"<|user|>!"


@pytest.mark.parametrize(
    ("kind", "token", "expected"),
    [
        ("byte_level", "Ġ", b" "),
        ("byte_level", "Ċ", b"\n"),
        ("byte_level", "ð", b"\xf0"),
        ("byte_level", "<|end|>", b"<|end|>"),
        ("prepend", "<0xF0>", b"\xf0"),
        ("prepend", "▁", b" "),
    ],
)
def test_a_token_is_bytes(kind: str, token: str, expected: bytes) -> None:
    token_id = tokenizer(kind).token_id(token)
    assert token_id is not None
    assert tokenizer(kind).token_bytes(token_id) == expected


def test_a_folder_is_loaded(tmp_path: Path) -> None:
    backend().save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).vocab_size == tokenizer().vocab_size


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no tokenizer.json"),
        ({"tokenizer.model": b""}, "AutoTokenizer"),
        ({"tokenizer.json": b"{"}, "cannot be read"),
    ],
)
def test_a_folder_without_a_readable_tokenizer_is_refused(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(tmp_path)


def _with_ordinary(kind: str) -> tokenizers.Tokenizer:
    """With tokens as Gemma adds them, whose ids come after the special ones."""
    built = tokenizers.Tokenizer.from_str(backend(kind).to_str())
    plain = [AddedToken(name, normalized=False) for name in ("<table>", "\n\n", "\n\n\n")]
    built.add_tokens([*plain, AddedToken("<b>")])
    return built


def _unsafe() -> tokenizers.Tokenizer:
    vocab = {"<": 0, "s>": 1, "s": 2, ">": 3, "<s>": 4}
    built = tokenizers.Tokenizer(models.BPE(vocab, merges=[("s", ">"), ("<", "s>")]))
    built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    built.decoder = decoders.Metaspace()
    built.add_special_tokens([AddedToken("<s>")])
    return built


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (tokenizers.Tokenizer(models.WordLevel({"a": 0}, "a")), "no BPE model"),
        (tokenizers.Tokenizer(models.BPE()), "decoder"),
        (_unsafe(), "ordinary text can become the special token <s>"),
    ],
)
def test_tokenizers_that_cannot_be_served_are_refused(built: tokenizers.Tokenizer, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Tokenizer(built)


def _reference(kind: str, text: str) -> list[int]:
    return list(backend(kind).encode(text, add_special_tokens=False).ids)
