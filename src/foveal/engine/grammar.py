"""Grammars that constrain answers: which tokens may come next. A thin layer over llguidance; imports no torch.

    Grammar, as the client sent it -> `translate` -> llguidance's text -> `Grammars.start` -> Constraint, one a sequence

A hostile grammar can take unbounded time or memory to translate. So `grammar_check` tries each one first, in a process
that may be killed. The request says which tokens end an answer; llguidance's own choice of them is not used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llguidance
import msgspec
import numpy as np

from foveal.config import DEFAULT_BOUNDS, SchemaConfig
from foveal.engine.ending import Endings, allowed_tokens
from foveal.engine.json_schema import prepared
from foveal.types import Grammar

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions
    from numpy.typing import NDArray

MAX_NUM_CACHED = 64  # compiled grammars
NUM_TOKENS_AT_ONCE = 16  # consuming tokens holds Python's lock
GROWTH = 7  # tokens by which the way out is taken to grow with each token of an answer; the margin allows for more
LOST = 16  # tokens, after which a way out is looked for again where there was none
# A mask takes 100 ms at most, a token 35 ms. Common grammars need a fifth of the items over 128,000 tokens; a row has
# four for each optional property that may come next.
LIMITS = llguidance.LLParserLimits(step_max_items=10_000, max_items_in_row=1000, verbose_errors=False)
# JSON allows unlimited white space, which small models never stop writing. So it is compact, with a space where people
# (and the texts that models learned from) put one.
LAYOUT: JsonCompileOptions = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
ARGUMENT_LENGTH = 65_536  # characters of a text: tools write files


class GrammarError(Exception):
    """The grammar cannot be used, or the answer cannot follow it any further. The message is for the client."""


def translate(grammar: Grammar, bounds: SchemaConfig = DEFAULT_BOUNDS) -> str:
    """The grammar in llguidance's language. Raises GrammarError where the syntax is wrong."""
    try:
        if grammar.kind == "json_schema":
            return llguidance.LLMatcher.grammar_from_json_schema(prepared(grammar.text, bounds), overrides=LAYOUT)
        if grammar.kind == "composed":
            return _composed(grammar, bounds)
        return llguidance.grammar_from("grammar", grammar.text)
    except ValueError as error:
        raise GrammarError(_in_a_line(str(error))) from None


def _composed(grammar: Grammar, bounds: SchemaConfig) -> str:
    """Several grammars under names, the first of which is that of the whole. llguidance overlooks what else it has."""
    parts = [{"name": f"part{number}"} | _part(part, bounds) for number, part in enumerate(grammar.parts)]
    return msgspec.json.encode(
        {"grammars": [{"lark_grammar": grammar.text}, *parts], "closings": grammar.closings}
    ).decode()


def _part(part: Grammar, bounds: SchemaConfig) -> dict[str, Any]:
    if part.kind == "grammar":
        return {"lark_grammar": llguidance.grammar_from("grammar", part.text)}
    if part.kind == "arguments":
        bounds = replace(bounds, text_length=max(bounds.text_length, ARGUMENT_LENGTH))
    try:
        return {"json_schema": prepared(part.text, bounds, part.is_strict) | {"x-guidance": LAYOUT}}
    except ValueError as error:
        raise GrammarError(f"{part.source}: {error}") from None


class Grammars:
    """Compiles grammars for one checkpoint's tokenizer; keeps the most recently used ones compiled."""

    def __init__(self, folder: Path) -> None:
        """Takes some seconds for a large vocabulary, with Python's lock held. Raises OSError or ValueError."""
        text = (folder / "tokenizer.json").read_text("utf-8")
        self.tokenizer = llguidance.LLTokenizer(text)
        self._endings = Endings(self.tokenizer, _marks(text, self.tokenizer))
        self._ready: OrderedDict[str, llguidance.LLMatcher] = OrderedDict()

    def start(self, text: str, stop_token_ids: Sequence[int], max_tokens: int) -> Constraint:
        """A constraint for one answer of up to max_tokens. `text` is what `translate` returned. Raises GrammarError."""
        if text not in self._ready:
            matcher = llguidance.LLMatcher(self.tokenizer, text, log_level=0, limits=LIMITS)
            _check(matcher)
            self._ready[text] = matcher
        self._ready.move_to_end(text)
        while len(self._ready) > MAX_NUM_CACHED:
            self._ready.popitem(last=False)
        endings = self._endings.with_closings(_closings(text))
        return Constraint(self._ready[text].deep_copy(), self.tokenizer, endings, stop_token_ids, max_tokens)


class Constraint:
    """The state of one answer in its grammar. Its last tokens are kept for what must still be written."""

    def __init__(
        self,
        matcher: llguidance.LLMatcher,
        tokenizer: llguidance.LLTokenizer,
        endings: Endings,
        stop_token_ids: Sequence[int],
        max_tokens: int,
    ) -> None:
        self.closing: int | None = None  # the token that closes what is open after the last `allowed`
        self._matcher = matcher
        self._num_accepted = 0
        self._stop_token_ids = [*stop_token_ids]
        self._not_text = [*tokenizer.eos_tokens]
        self._vocab_size = tokenizer.vocab_size
        self._endings = endings
        self._max_tokens = max_tokens
        self._way = endings.way_out(matcher)  # from where it was looked for last
        self._margin = min(16 + 2 * len(self._way or ()), max_tokens // 8)  # a token may open what takes more to close
        self._last_look = 0
        self._next_look = max_tokens if self._way is None else self._spare // (GROWTH + 1)  # tokens of the answer

    def allowed(self, output_token_ids: Sequence[int], vocab_size: int) -> NDArray[np.bool_]:
        """Which tokens may come next, [vocab_size]. Stop tokens are allowed where the answer is complete.

        `output_token_ids`: all of the answer so far; each call continues the one before. Raises GrammarError where the
        answer does not match the grammar, or matching has become too complex.
        """
        self._consume(output_token_ids)
        found_V = allowed_tokens(self._matcher, self._vocab_size)
        _check(self._matcher)
        is_complete = self._matcher.is_accepting()
        if self._way and self._spare <= 0 and not is_complete:
            found_V = np.arange(len(found_V)) == self._way[0]
        found_V[self._not_text] = False
        self.closing = None if is_complete else self._endings.closing(found_V)
        allowed_V = np.zeros(max(vocab_size, len(found_V)), np.bool_)
        allowed_V[: len(found_V)] = found_V
        allowed_V[self._stop_token_ids] = is_complete
        return allowed_V[:vocab_size]

    def _consume(self, output_token_ids: Sequence[int]) -> None:
        """Follow the answer. Where the way out is looked for again depends on the answer alone."""
        while (start := self._num_accepted) < len(output_token_ids):
            stop = min(len(output_token_ids), start - start % NUM_TOKENS_AT_ONCE + NUM_TOKENS_AT_ONCE)
            stop = max(start + 1, min(stop, self._next_look))
            new = [token_id for token_id in output_token_ids[start:stop] if token_id not in self._stop_token_ids]
            self._matcher.consume_tokens(new)
            self._num_accepted = stop
            if stop >= self._next_look:
                self._look_for_way(new)

    def _look_for_way(self, new: list[int]) -> None:
        """The way out after `new` tokens. It takes long, so it is looked for the more often, the less is to spare."""
        is_followed = self._way and new == self._way[:1] and self._last_look == self._num_accepted - 1
        self._way = self._way[1:] if is_followed and self._way else self._endings.way_out(self._matcher)
        self._last_look = self._num_accepted
        self._next_look = self._num_accepted + (LOST if self._way is None else max(1, self._spare // (GROWTH + 1)))

    @property
    def _spare(self) -> int:
        """Tokens that are left beside the way out, a stop token and the margin."""
        return self._max_tokens - self._num_accepted - len(self._way or ()) - 1 - self._margin


def _marks(tokenizer_json: str, tokenizer: llguidance.LLTokenizer) -> list[int]:
    """Tokens beside the vocabulary that mark parts of an answer, such as `</think>`."""
    added = msgspec.json.decode(tokenizer_json).get("added_tokens") or ()
    return [token["id"] for token in added if token["id"] not in tokenizer.eos_tokens and token["content"].strip()]


def _closings(text: str) -> list[str]:
    """The texts that close free texts in a grammar that `translate` composed."""
    found: list[str] = msgspec.json.decode(text).get("closings", []) if text.startswith('{"grammars"') else []
    return found


def _check(matcher: llguidance.LLMatcher) -> None:
    if matcher.is_error():
        raise GrammarError(_in_a_line(matcher.get_error()))


def _in_a_line(message: str) -> str:
    """llguidance's message as one line, without the mark of the dump of its state, which is switched off."""
    return " ".join(message.partition("<non-verbose")[0].split())[:300]
