"""Token ids of text and text of token ids, over a checkpoint's tokenizer.json.

Text comes in runs that tell who wrote them. Special tokens are recognised in markup only. Users' text is encoded by a
copy of the tokenizer without them, so that a typed `<|end|>` becomes about five ordinary tokens. Added tokens that are
not special (Gemma's `<table>`) are text like any other. For text without typed special tokens the ids equal those of
`tokenizers.Tokenizer.encode` on the whole text.

A token is bytes, not text: a character may be spread over several tokens. Knows nothing of messages, templates,
images or streams.
"""

from __future__ import annotations

import codecs
import copy
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers

from foveal.errors import CheckpointError

_WORD_MARK = "▁"  # stands for a space in sentencepiece vocabularies
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = r"[^\S\x1c-\x1f]*"  # white space as the tokenizers library has it: Python's \s has four characters more


class Run(NamedTuple):
    """A stretch of text of one origin."""

    text: str
    is_markup: bool  # special tokens in it are meant as such


class Tokenizer:
    """One checkpoint's tokenizer. Immutable after construction; may be used from several threads at once."""

    def __init__(self, backend: tokenizers.Tokenizer, reserved: Iterable[str] = ()) -> None:
        """`reserved`: added tokens that are for markup alone, though tokenizer.json does not call them special.

        Raises CheckpointError for a kind of tokenizer that is not supported.
        """
        if not isinstance(backend.model, models.BPE):
            raise CheckpointError("tokenizer.json holds no BPE model, and only BPE tokenizers are supported.")
        self._backend = backend
        self._added = backend.get_added_tokens_decoder()
        self._added_ids = {token.content: token_id for token_id, token in self._added.items()}
        self._special_ids = frozenset(token_id for token_id, token in self._added.items() if token.special)
        self._hidden = {token.content for token in self._added.values() if token.special} | set(reserved)
        self._added_pattern = _any_of(self._added_ids)
        ordinary = [token for token in self._added.values() if token.content not in self._hidden]
        self._at_start = _with_added_tokens(backend, ordinary)
        self._mid_text = _never_prefixed(_with_added_tokens(backend, ordinary))
        self._renumbered = self._other_ids(ordinary)
        self._spell = _spelling(backend)
        self.vocab_size = max([backend.get_vocab_size(with_added_tokens=False) - 1, *self._added]) + 1
        self.drops_first_space = _decode(backend, [_WORD_MARK + "a"]) == "a"
        self.prepended = _prepended(backend)  # the token that it puts before a text by itself, "" if it puts none
        self._require_hidden_unreachable(backend.model.unk_token)

    def reserving(self, names: Iterable[str]) -> Tokenizer:
        """This tokenizer, to which those of its added tokens are for markup alone."""
        reserved = self._hidden | (set(names) & set(self._added_ids))
        return self if reserved == self._hidden else Tokenizer(self._backend, reserved)

    def added_tokens_in(self, text: str) -> set[str]:
        """The added tokens that stand in a text as markup."""
        return set(self._added_pattern.findall(text))

    def literal(self, text: str) -> list[str | int]:
        """A text of markup in pieces: the ids of its added tokens, white space excepted, and the texts around them."""
        pieces: list[str | int] = [""]
        for place, part in enumerate(self._added_pattern.split(text)):
            if place % 2 and part.strip(" \n\t▁"):
                pieces += [self._added_ids[part], ""]
            else:
                pieces[-1] = f"{pieces[-1]}{part}"
        return [piece for piece in pieces if piece != ""]

    def token_id(self, token: str) -> int | None:
        """The id of a token by its exact name in the vocabulary."""
        return self._backend.token_to_id(token)

    def is_special(self, token_id: int) -> bool:
        """Whether the token is one for the model only, which is not part of an answer's text."""
        return token_id in self._special_ids

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token adds to a text: b"" for an id that no token has."""
        if (added := self._added.get(token_id)) is not None:
            return self._spell(added.content)
        token = self._backend.id_to_token(token_id)
        return b"" if token is None else self._spell(token)

    def decode(self, token_ids: Iterable[int], *, continues: bool = False) -> str:
        """The text of tokens that begin a text, or (continues) go on with one.

        Special tokens are left out, and so is a character that the last token leaves incomplete. Other bytes that are
        no UTF-8 become U+FFFD.
        """
        shown = b"".join(self.token_bytes(token_id) for token_id in token_ids if not self.is_special(token_id))
        if self.drops_first_space and not continues:
            shown = shown.removeprefix(b" ")
        return codecs.getincrementaldecoder("utf-8")("replace").decode(shown)

    def spell(self, token_ids: Iterable[int]) -> str:
        """The text of all tokens, joined, special tokens by name."""
        return b"".join(map(self.token_bytes, token_ids)).decode("utf-8", "replace")

    def encode(self, runs: Iterable[Run], *, at_start: bool = True) -> list[int]:
        """Token ids of the runs put together; no BOS is added.

        `at_start`: the runs begin a text. (Some tokenizers put a space before the first word of a text only.)
        The interpreter lock is released meanwhile, so a thread can run it while the event loop goes on.
        """
        stretches, marks = self._split(runs)
        first = self._at_start if at_start else self._mid_text
        encoded = first.encode_batch_fast(stretches[:1], add_special_tokens=False)
        encoded += self._mid_text.encode_batch_fast(stretches[1:], add_special_tokens=False)
        token_ids = self._original_ids(encoded[0])
        for mark, stretch in zip(marks, encoded[1:], strict=True):
            token_ids.append(self._added_ids[mark])
            token_ids += self._original_ids(stretch)
        return token_ids

    def _other_ids(self, ordinary: Iterable[AddedToken]) -> dict[int, int]:
        """The ids that differ between the copy of the tokenizer and the checkpoint's."""
        pairs = ((self._at_start.token_to_id(token.content), self._added_ids[token.content]) for token in ordinary)
        return {copied: original for copied, original in pairs if copied is not None and copied != original}

    def _original_ids(self, encoded: tokenizers.Encoding) -> list[int]:
        if not self._renumbered:
            return list(encoded.ids)
        return [self._renumbered.get(token_id, token_id) for token_id in encoded.ids]

    def _split(self, runs: Iterable[Run]) -> tuple[list[str], list[str]]:
        """The text between hidden tokens, and those tokens: one stretch more than tokens.

        Ordinary added tokens are left in the text. They are looked for with the others, as the longest of all counts.
        """
        parts: list[list[str]] = [[]]
        marks: list[str] = []
        for text, is_markup in runs:
            pieces = self._added_pattern.split(text) if is_markup else [text]
            parts[-1].append(pieces[0])
            for mark, piece in zip(pieces[1::2], pieces[2::2], strict=True):
                if mark in self._hidden:
                    marks.append(mark)
                    parts.append([piece])
                else:
                    parts[-1] += [mark, piece]
        stretches = ["".join(part) for part in parts]
        for place, mark in enumerate(marks):
            token = self._added[self._added_ids[mark]]
            if token.lstrip:
                stretches[place] = re.sub(_SPACE + r"\Z", "", stretches[place])
            if token.rstrip:
                stretches[place + 1] = re.sub(r"\A" + _SPACE, "", stretches[place + 1])
        return stretches, marks

    def _require_hidden_unreachable(self, unk_token: str | None) -> None:
        for name in self._hidden - {unk_token}:
            if self._added_ids[name] in self.encode([Run(name, is_markup=False)]):
                raise CheckpointError(f"tokenizer.json is unsafe: ordinary text can become the special token {name}.")


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder. Raises CheckpointError if tokenizer.json is missing or unreadable."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        others = [name for name in ("tokenizer.model", "vocab.json") if (folder / name).is_file()]
        hint = f" It has {others[0]}, an older form: save it anew with transformers' AutoTokenizer." if others else ""
        raise CheckpointError(f"{folder} has no tokenizer.json.{hint}")
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return Tokenizer(backend)


# --- encoding ---------------------------------------------------------------------------------------------------------


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    """One group that matches any of the names, the longest first; nothing if there are none."""
    alternatives = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(f"({alternatives or '(?!)'})")


def _with_added_tokens(backend: tokenizers.Tokenizer, added: Sequence[AddedToken]) -> tokenizers.Tokenizer:
    """The same model and rules with those added tokens alone, and without tokens put around a text."""
    plain = tokenizers.Tokenizer(backend.model)
    if backend.normalizer is not None:
        plain.normalizer = backend.normalizer
    if backend.pre_tokenizer is not None:
        plain.pre_tokenizer = copy.deepcopy(backend.pre_tokenizer)  # assigning alone would share its settings
    plain.add_tokens(list(added))
    return plain


def _prepended(backend: tokenizers.Tokenizer) -> str:
    encoded = backend.encode("a")
    return str(encoded.tokens[0]) if encoded.special_tokens_mask[:1] == [1] else ""


def _never_prefixed(plain: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Turns off "a space before the first word of a text". "Before each stretch" stays on."""
    whole = plain.pre_tokenizer
    steps = cast("Iterable[object]", whole) if isinstance(whole, pre_tokenizers.Sequence) else [whole]
    for step in steps:
        if isinstance(step, pre_tokenizers.Metaspace) and step.prepend_scheme == "first":
            step.prepend_scheme = "never"
    return plain


# --- decoding ---------------------------------------------------------------------------------------------------------


def _spelling(backend: tokenizers.Tokenizer) -> Callable[[str], bytes]:
    """How this vocabulary writes bytes, found by trial with its decoder."""
    if _decode(backend, ["a", "Ġ"]) == "a ":
        return _byte_level
    if _decode(backend, ["a", _WORD_MARK + "b"]) == "a b":
        return _sentencepiece_bytes if _decode(backend, ["<0x41>"]) == "A" else _sentencepiece
    raise CheckpointError("tokenizer.json has a decoder that is neither byte-level nor sentencepiece: unsupported.")


def _decode(backend: tokenizers.Tokenizer, tokens: Sequence[str]) -> str:
    return "" if backend.decoder is None else str(backend.decoder.decode(list(tokens)))


def _byte_characters() -> dict[str, int]:
    """Byte-level BPE writes each byte as one printable character: itself, or else the next one from U+0100.

    Source: bytes_to_unicode of GPT-2's encoder.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + k): byte for k, byte in enumerate(others)}


_BYTE_OF = _byte_characters()


def _byte_level(token: str) -> bytes:
    if all(character in _BYTE_OF for character in token):
        return bytes(_BYTE_OF[character] for character in token)
    return token.encode()  # an added token, written as it is


def _sentencepiece(token: str) -> bytes:
    return token.replace(_WORD_MARK, " ").encode()


def _sentencepiece_bytes(token: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(token)
    return bytes.fromhex(byte[1]) if byte else _sentencepiece(token)
