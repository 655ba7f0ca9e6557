"""The tokenizer in a GGUF file, as tokenizer.json and tokenizer_config.json would have it.

A file has a list of tokens, and either merges (byte-level BPE) or scores (sentencepiece). What a byte-level tokenizer
does to a text first is only named in it; the names are llama.cpp's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from foveal.errors import CheckpointError
from foveal.models.gguf.facts import text_of
from foveal.models.gguf.reader import GgufFile

Json = dict[str, Any]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # types of tokens
TURN_ENDS = (  # where a file does not say what ends one
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<|eom_id|>",
    "<|endoftext|>",
)

# --- patterns: which pieces of a text are divided into tokens on their own --------------------------------------------

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SUFFIXES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA3 = _SUFFIXES + r"|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASES = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_OF_LLAMA3, _OF_QWEN2 = (_LLAMA3.format(r"\p{N}{1,3}"),), (_LLAMA3.format(r"\p{N}"),)
_OF_SMOLLM = (r"\p{N}", _GPT2)
PATTERNS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "jina-es", "jina-de", "mpt", "olmo"), (_GPT2,)),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "smaug-bpe", "pixtral"), _OF_LLAMA3),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen", "hunyuan", "megrez"), _OF_QWEN2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), _OF_SMOLLM),
    "tekken": (_CASES % ("", "") + r"|\p{N}|" + _REST,),
    "gpt-4o": (_CASES % (f"{_SUFFIXES}?", f"{_SUFFIXES}?") + r"|\p{N}{1,3}|" + _REST,),
}
WHOLE_WORDS_FIRST = ("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "tekken")  # before merges are tried
BEGIN_BY_THEMSELVES = ("llama3", "llama-v3", "llama-bpe", "pixtral", "tekken")  # add a BOS, unless a file says no
COMPOSED = ("qwen2", "deepseek-r1-qwen")  # normalise texts to NFC


# --- the files --------------------------------------------------------------------------------------------------------


class Vocabulary:
    """The tokens of a file."""

    def __init__(self, file: GgufFile) -> None:
        """Raises CheckpointError for a file whose lists do not fit together."""
        self.file = file
        self.tokens = _distinct(self._list("tokens", str))
        self.kinds = self._list("token_type", int) if self.get("token_type") else [NORMAL] * len(self.tokens)
        if len(self.kinds) != len(self.tokens):
            raise CheckpointError(f"{file.path} has {len(self.tokens)} tokens, and types of {len(self.kinds)}")
        self.ids = {token: number for number, token in enumerate(self.tokens)}

    def get(self, name: str, default: Any = None) -> Any:
        return self.file.metadata.get(f"tokenizer.ggml.{name}", default)

    def text_of(self, name: str) -> str | None:
        """The token that the file gives a role; None where it gives it to none."""
        number = self.get(f"{name}_token_id")
        if not isinstance(number, int) or not 0 <= number < len(self.tokens):
            return None
        return self.tokens[number]

    def added(self) -> list[Json]:
        """Those that are found in a text before anything else."""
        return [
            {
                "id": number,
                "content": self.tokens[number],
                "special": kind != USER_DEFINED,
                "normalized": False,
                "lstrip": False,
                "rstrip": False,
                "single_word": False,
            }
            for number, kind in enumerate(self.kinds)
            if kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ]

    def _list(self, name: str, kind: type) -> list[Any]:
        found = self.get(name)
        if not isinstance(found, list) or not found or not isinstance(found[0], kind):
            raise CheckpointError(f"{self.file.path} has no tokenizer.ggml.{name}; it is incomplete")
        return found

    def merges(self) -> list[Any]:
        return self._list("merges", str)

    def scores(self) -> list[float]:
        found = self._list("scores", float)
        if len(found) != len(self.tokens):
            raise CheckpointError(f"{self.file.path} has {len(self.tokens)} tokens, and scores of {len(found)}")
        return found


def tokenizer_files(file: GgufFile) -> dict[str, Json]:
    """By their names. Raises CheckpointError for a kind of tokenizer that is not implemented."""
    vocabulary = Vocabulary(file)
    model = text_of(file, "tokenizer.ggml.model")
    if model not in MODELS:
        raise CheckpointError(f"{file.path} has a tokenizer of the kind {model!r}; these are implemented: gpt2, llama")
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, **MODELS[model](vocabulary)}
    tokenizer["added_tokens"] = vocabulary.added()
    tokenizer["post_processor"] = _beginning(vocabulary, model)
    bos, eos = vocabulary.text_of("bos"), vocabulary.text_of("eos")
    return {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            **({"bos_token": bos} if bos else {}),
            **({"eos_token": eos} if eos else {}),
            **_template(file),
        },
        "generation_config.json": {"eos_token_id": _ends(vocabulary)},
    }


def _template(file: GgufFile) -> Json:
    found = file.metadata.get("tokenizer.chat_template")
    return {"chat_template": found} if isinstance(found, str) else {}


def _ends(vocabulary: Vocabulary) -> list[int]:
    """The tokens that end an answer."""
    named = [vocabulary.ids[text] for role in ("eos", "eot", "eom") if (text := vocabulary.text_of(role))]
    known = [number for text in TURN_ENDS if (number := vocabulary.ids.get(text)) is not None]
    return [*dict.fromkeys([*named, *(number for number in known if vocabulary.kinds[number] == CONTROL)])]


def _beginning(vocabulary: Vocabulary, model: str) -> Json | None:
    """Puts a BOS before a text, where the file says so or its kind of tokenizer does by itself."""
    bos, usual = vocabulary.text_of("bos"), model == "llama" or vocabulary.get("pre") in BEGIN_BY_THEMSELVES
    if bos is None or not vocabulary.get("add_bos_token", usual):
        return None
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, sequence],
        "pair": [sequence, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {bos: {"id": bos, "ids": [vocabulary.ids[bos]], "tokens": [bos]}},
    }


def _distinct(tokens: list[str]) -> list[str]:
    """Later ones of the same text get names of their own: no text becomes them."""
    seen: set[str] = set()
    names = []
    for number, token in enumerate(tokens):
        names.append(f"<again {number}>" if token in seen else token)
        seen.add(token)
    return names


# --- byte-level BPE ---------------------------------------------------------------------------------------------------


def _byte_level(vocabulary: Vocabulary) -> Json:
    name = vocabulary.get("pre", "default")
    name = "gpt-2" if name == "default" else name
    if name not in PATTERNS:
        known = ", ".join(sorted(PATTERNS))
        raise CheckpointError(
            f"{vocabulary.file.path} divides texts by the rules {name!r}; these are implemented: {known}"
        )
    return byte_level(name, vocabulary.ids, [*_pairs(vocabulary)])


def byte_level(name: str, ids: dict[str, int], merges: list[tuple[str, str]]) -> Json:
    """name: one of PATTERNS."""
    steps = [
        {"type": "Split", "pattern": {"Regex": each}, "behavior": "Isolated", "invert": False}
        for each in PATTERNS[name]
    ]
    of_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "normalizer": {"type": "NFC"} if name in COMPOSED else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*steps, of_bytes]},
        "decoder": of_bytes,
        "model": _bpe(ids, merges, ignore_merges=name in WHOLE_WORDS_FIRST),
    }


def _pairs(vocabulary: Vocabulary) -> Iterator[tuple[str, str]]:
    """A merge is written as two tokens with a space between; those of tokens that are not there are left out."""
    for merge in vocabulary.merges():
        at = str(merge).find(" ", 1)
        left, right = merge[:at], merge[at + 1 :]
        if left in vocabulary.ids and right in vocabulary.ids and left + right in vocabulary.ids:
            yield left, right


def _bpe(ids: dict[str, int], merges: list[tuple[str, str]], **more: Any) -> Json:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": ids,
        "merges": merges,
        **more,
    }


# --- sentencepiece ----------------------------------------------------------------------------------------------------


def _sentencepiece(vocabulary: Vocabulary) -> Json:
    is_prefixed = vocabulary.get("add_space_prefix", True)
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    words = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    prefix = {"type": "Prepend", "prepend": "▁"}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    return {
        "normalizer": {"type": "Sequence", "normalizers": [prefix, spaces]} if is_prefixed else spaces,
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [words, {"type": "ByteFallback"}, {"type": "Fuse"}, *([strip] if is_prefixed else [])],
        },
        "model": _bpe(
            vocabulary.ids,
            _merges(vocabulary),
            unk_token=vocabulary.text_of("unknown"),
            fuse_unk=True,
            byte_fallback=True,
        ),
    }


def _merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every division of a token into two others, the token with the highest score first.

    So a text is divided as sentencepiece does it, which joins the two neighbours that make the best token.
    """
    scores = vocabulary.scores()
    ordinary = {token: scores[i] for i, token in enumerate(vocabulary.tokens) if vocabulary.kinds[i] == NORMAL}
    found = [
        (score, token[:at], token[at:])
        for token, score in ordinary.items()
        for at in range(1, len(token))
        if token[:at] in ordinary and token[at:] in ordinary
    ]
    found.sort(key=lambda merge: (-merge[0], vocabulary.ids[merge[1]], vocabulary.ids[merge[2]]))
    return [(left, right) for _, left, right in found]


MODELS = {"gpt2": _byte_level, "llama": _sentencepiece}
