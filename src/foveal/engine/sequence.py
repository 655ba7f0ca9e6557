"""A sequence: one continuation of a prompt, its known and its computed tokens. Knows no cache, budget or model."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, NamedTuple

from foveal.layers.step import Positions
from foveal.types import FinishReason, ImageSpan, Prompt, PromptLogprob, SamplingParams

if TYPE_CHECKING:
    from foveal.engine.guide import Guide

ImageKey = tuple[bytes, bytes]
"""(cache salt, image hash): names an image's features in the encoder cache."""


class SpanSource(NamedTuple):
    """A span and what fills it: rows of an image's features, from `first_row` on."""

    span: ImageSpan
    first_row: int
    image_hash: bytes


@dataclass(slots=True, eq=False)
class Sequence:
    """Steps compute it from num_computed_tokens to the end of token_ids; when they reach the end, a token is drawn."""

    sequence_id: int
    prompt: Prompt
    sampling: SamplingParams
    positions: Positions
    max_total_tokens: int  # prompt and output together
    token_ids: list[int]  # the prompt's, then the output's
    status: Literal["waiting", "running", "done"] = "waiting"
    num_computed_tokens: int = 0  # tokens whose keys and values are in the blocks
    num_cached_tokens: int | None = None  # prompt tokens found in the prefix cache at its first start
    mirostat_mu: float | None = None  # as the last draw returned it, for the next
    guide: Guide | None = None  # through the grammar of the output
    prompt_logprobs: dict[int, PromptLogprob] = field(default_factory=dict)  # by position; those computed so far
    block_table: list[int] = field(default_factory=list)
    state_slot: int | None = None  # of its states, while it runs a hybrid model
    snapshot_points: list[int] | None = None  # of the prompt, once they were needed
    last_snapshot: bytes | None = None  # behind the prompt, where each takes the place of the one before
    block_hashes: list[bytes] = field(default_factory=list)  # of the first full blocks; those needed so far
    span_sources: list[SpanSource] = field(init=False)  # of all images, ascending

    def __post_init__(self) -> None:
        self.span_sources = sorted(
            SpanSource(span, first_row, image.image.hash)
            for image in self.prompt.images
            for span, first_row in zip(
                image.spans, accumulate((span.length for span in image.spans), initial=0), strict=False
            )
        )

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - len(self.prompt.token_ids)

    @property
    def images_end(self) -> int:
        """The position after the last image span; 0 without images."""
        return self.span_sources[-1].span.end if self.span_sources else 0

    @property
    def prompt_logprob_range(self) -> range:
        """Prompt positions whose logprobs are still to be computed. They are reported with the first token."""
        num_tokens = 0 if self.num_output_tokens else self.sampling.num_prompt_logprobs
        return range(max(self.num_prompt_tokens - num_tokens, 0), self.num_prompt_tokens)

    def image_key(self, index: int) -> ImageKey:
        return self.prompt.cache_salt, self.prompt.images[index].image.hash

    def spans_within(self, start: int, stop: int) -> list[SpanSource]:
        """The spans that overlap positions [start, stop)."""
        first = bisect_right(self.span_sources, start, key=lambda source: source.span.end)
        last = bisect_right(self.span_sources, stop - 1, key=lambda source: source.span.offset)
        return self.span_sources[first:last]

    def append(self, token_id: int) -> FinishReason | None:
        """Append the next output token; returns the finish reason if it was the last."""
        self.token_ids.append(token_id)
        params = self.sampling
        if token_id in params.stop_token_ids and not params.ignore_eos and self.num_output_tokens > params.min_tokens:
            return "stop"
        return "length" if self.num_tokens >= self.max_total_tokens else None
