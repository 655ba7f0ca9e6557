"""Grammars that constrain answers: which tokens may come next. A thin layer over llguidance; imports no torch.

    Grammar, as the client sent it -> `translate` -> llguidance's text -> `Grammars.start` -> Constraint, one a sequence

A hostile grammar can take unbounded time or memory to translate. So `grammar_check` tries each one first, in a process
that may be killed. The request says which tokens end an answer; llguidance's own choice of them is not used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import llguidance
import llguidance.numpy
import numpy as np

from foveal.engine.json_schema import prepared
from foveal.types import Grammar

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions
    from numpy.typing import NDArray

MAX_NUM_CACHED = 64  # compiled grammars
NUM_TOKENS_AT_ONCE = 16  # consuming tokens holds Python's lock
# A mask takes 100 ms at most, a token 35 ms. Common grammars need a fifth of the items over 128,000 tokens; a row has
# four for each optional property that may come next.
LIMITS = llguidance.LLParserLimits(step_max_items=10_000, max_items_in_row=1000, verbose_errors=False)
# JSON allows unlimited white space, which small models never stop writing. So it is compact, with a space where people
# (and the texts that models learned from) put one.
LAYOUT: JsonCompileOptions = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}


class GrammarError(Exception):
    """The grammar cannot be used, or the answer cannot follow it any further. The message is for the client."""


def translate(grammar: Grammar) -> str:
    """The grammar in llguidance's language. Raises GrammarError where the syntax is wrong."""
    try:
        if grammar.kind == "json_schema":
            return llguidance.LLMatcher.grammar_from_json_schema(prepared(grammar.text), overrides=LAYOUT)
        return llguidance.grammar_from("grammar", grammar.text)
    except ValueError as error:
        raise GrammarError(_in_a_line(str(error))) from None


class Grammars:
    """Compiles grammars for one checkpoint's tokenizer; keeps the most recently used ones compiled."""

    def __init__(self, folder: Path) -> None:
        """Takes some seconds for a large vocabulary, with Python's lock held. Raises OSError or ValueError."""
        self.tokenizer = llguidance.LLTokenizer((folder / "tokenizer.json").read_text("utf-8"))
        self._ready: OrderedDict[str, llguidance.LLMatcher] = OrderedDict()

    def start(self, text: str, stop_token_ids: Sequence[int]) -> Constraint:
        """A constraint for one answer. `text` is what `translate` returned. Raises GrammarError."""
        if text not in self._ready:
            matcher = llguidance.LLMatcher(self.tokenizer, text, log_level=0, limits=LIMITS)
            _check(matcher)
            self._ready[text] = matcher
        self._ready.move_to_end(text)
        while len(self._ready) > MAX_NUM_CACHED:
            self._ready.popitem(last=False)
        return Constraint(self._ready[text].deep_copy(), self.tokenizer, stop_token_ids)


class Constraint:
    """The state of one answer in its grammar."""

    def __init__(
        self, matcher: llguidance.LLMatcher, tokenizer: llguidance.LLTokenizer, stop_token_ids: Sequence[int]
    ) -> None:
        self._matcher = matcher
        self._num_accepted = 0
        self._stop_token_ids = [*stop_token_ids]
        self._not_text = [*tokenizer.eos_tokens]
        self._bits = llguidance.numpy.allocate_token_bitmask(1, tokenizer.vocab_size)

    def allowed(self, output_token_ids: Sequence[int], vocab_size: int) -> NDArray[np.bool_]:
        """Which tokens may come next, [vocab_size]. Stop tokens are allowed where the answer is complete.

        `output_token_ids`: all of the answer so far; each call continues the one before. Raises GrammarError where the
        answer does not match the grammar, or matching has become too complex.
        """
        new = [token_id for token_id in output_token_ids[self._num_accepted :] if token_id not in self._stop_token_ids]
        for start in range(0, len(new), NUM_TOKENS_AT_ONCE):
            self._matcher.consume_tokens(new[start : start + NUM_TOKENS_AT_ONCE])
        self._num_accepted = len(output_token_ids)
        allowed_V = np.zeros(max(vocab_size, self._bits.size * 32), np.bool_)
        if not self._matcher.is_stopped():
            llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits)
            allowed_V[: self._bits.size * 32] = np.unpackbits(self._bits.view(np.uint8), bitorder="little")
        _check(self._matcher)
        allowed_V[self._not_text] = False
        allowed_V[self._stop_token_ids] = self._matcher.is_accepting()
        return allowed_V[:vocab_size]


def _check(matcher: llguidance.LLMatcher) -> None:
    if matcher.is_error():
        raise GrammarError(_in_a_line(matcher.get_error()))


def _in_a_line(message: str) -> str:
    """llguidance's message as one line, without the mark of the dump of its state, which is switched off."""
    return " ".join(message.partition("<non-verbose")[0].split())[:300]
