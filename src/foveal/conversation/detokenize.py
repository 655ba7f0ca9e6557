"""Output tokens -> deltas of text, each final when it is returned.

Bytes that are no whole character yet are held back, and so is text that may become a stop string. The deltas together
equal `Tokenizer.decode` of all tokens, cut before the first stop string. The work for a token does not grow with the
length of the answer. Knows nothing of how tokens are chosen or sent.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from foveal.conversation.rendered import EchoedPrompt
from foveal.conversation.stops import StopStrings
from foveal.conversation.tokenizer import Tokenizer
from foveal.types import Delta, Echo, FinishReason, Token, TokenLogprob, TopLogprob


class Detokenizer:
    """The text of one choice. Push its tokens in order, until a Delta has a finish_reason."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
        *,
        index: int = 0,
        continues: bool = False,
        echo: EchoedPrompt | None = None,
        shown: frozenset[int] = frozenset(),
    ) -> None:
        """`continues`: the text continues the prompt's (a completion), so a first space belongs to it. `shown`: special
        tokens that are part of the text.
        """
        self._tokenizer = tokenizer
        self._stops = StopStrings(stop)
        self._index = index
        self._shown = shown
        self._drop_space = tokenizer.drops_first_space and not continues
        self._echo = echo  # until the first token arrives
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._num_given = 0  # characters returned
        self._logprobs: deque[_HeldLogprob] = deque()

    def push(self, token: Token) -> Delta:
        """The text that this token makes final. The first delta begins with the echoed part of the prompt.

        The token that made the engine stop is not shown. A stop string ends the choice with finish_reason "stop":
        the caller then stops pushing.
        """
        delta = self._push(token)
        return delta if self._echo is None else self._behind_echo(delta, token)

    def spell(self, token_ids: Iterable[int]) -> str:
        """The text of generated tokens as the model gave it, special tokens by name."""
        return self._tokenizer.spell(token_ids)

    def _push(self, token: Token) -> Delta:
        ended_by_token = token.finish_reason == "stop"
        is_hidden = self._tokenizer.is_special(token.token_id) and token.token_id not in self._shown
        shown = not ended_by_token and not is_hidden
        start = self._num_given + self._stops.num_held
        text = self._decode(self._tokenizer.token_bytes(token.token_id) if shown else b"")
        if not ended_by_token and token.logprob is not None:
            self._logprobs.append(_HeldLogprob(start, start + len(text), self._logprob(token, token.logprob)))
        certain = self._stops.push(text)
        if self._stops.found is not None:
            return replace(self._give(certain, "stop", token.token_id), stop=self._stops.found)
        if token.finish_reason is not None:
            certain += self._stops.flush()
        return self._give(certain, token.finish_reason, token.token_id)

    def _behind_echo(self, delta: Delta, first: Token) -> Delta:
        """The first delta with the echo before it. The first token has logprobs for all echoed tokens, or for none."""
        assert self._echo is not None
        echoed, self._echo = self._echo, None
        pairs = zip(echoed.token_ids, first.prompt_logprobs, strict=False)
        echo = Echo(echoed.text, tuple(spelled(self._tokenizer, token_id, *known) for token_id, known in pairs))
        return replace(delta, text=echo.text + delta.text, echo=echo)

    def _decode(self, data: bytes) -> str:
        """The characters that these bytes complete. One that the answer's end leaves incomplete is not shown."""
        if self._drop_space and data:
            data = data.removeprefix(b" ")
            self._drop_space = False
        return self._utf8.decode(data)

    def _give(self, text: str, finish_reason: FinishReason | None, token_id: int) -> Delta:
        self._num_given += len(text)
        logprobs = []
        while self._logprobs and self._is_out(self._logprobs[0], finish_reason):
            logprobs.append(self._logprobs.popleft().logprob)
        return Delta(self._index, text, tuple(logprobs), finish_reason, (token_id,))

    def _is_out(self, held: _HeldLogprob, finish_reason: FinishReason | None) -> bool:
        """A logprob is returned with its token's last character; at the end, if any character is in the text."""
        return held.end <= self._num_given or (finish_reason is not None and held.start < self._num_given)

    def _logprob(self, token: Token, logprob: float) -> TokenLogprob:
        spelt = spelled(self._tokenizer, token.token_id, logprob, token.top_logprobs)
        return replace(spelt, bytes=b"") if self._tokenizer.is_special(token.token_id) else spelt


def spelled(tokenizer: Tokenizer, token_id: int, logprob: float | None, top: Sequence[TopLogprob] = ()) -> TokenLogprob:
    """A token's logprob, and those of the likeliest in its place, with their texts."""
    data = tokenizer.token_bytes(token_id)
    others = tuple(spelled(tokenizer, other.token_id, other.logprob) for other in top)
    return TokenLogprob(token_id, data.decode("utf-8", "replace"), data, logprob, others)


@dataclass(frozen=True, slots=True)
class _HeldLogprob:
    start: int  # characters of the answer before the token, and with it
    end: int
    logprob: TokenLogprob
