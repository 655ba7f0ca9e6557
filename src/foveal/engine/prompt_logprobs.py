"""Logprobs of prompt tokens, from the hidden states that a prefill computes anyway.

A position's state predicts the token after it. Cached tokens have no states, so they yield no logprobs. The scheduler
therefore limits the cached prefix of a sequence that asks for prompt logprobs. Logits are computed for a few positions
at a time, since those of a whole prompt would be larger than the model.

Letters: T tokens of a chunk, H hidden, N positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.types import PromptLogprob, TopLogprob

if TYPE_CHECKING:
    from foveal.engine.scheduler import Chunk

NUM_AT_ONCE = 64  # positions: 64 MiB of logits and logprobs with a vocabulary of 128,000


def prompt_logprobs(chunk: Chunk, hidden_TH: Tensor, logits: Callable[[Tensor], Tensor]) -> dict[int, PromptLogprob]:
    """By position: those that were requested and that the chunk's states predict. The first token has no logprob."""
    asked = chunk.sequence.prompt_logprob_range
    found = {0: PromptLogprob(None)} if 0 in asked and chunk.start == 0 else {}
    positions = range(max(asked.start, chunk.start + 1), min(asked.stop, chunk.stop + 1))
    for start in range(positions.start, positions.stop, NUM_AT_ONCE):
        some = range(start, min(start + NUM_AT_ONCE, positions.stop))
        states_NH = hidden_TH[some.start - 1 - chunk.start : some.stop - 1 - chunk.start]
        found |= zip(some, _each(chunk, some, logits(states_NH).log_softmax(dim=-1)), strict=True)
    return found


def _each(chunk: Chunk, positions: range, logprobs_NV: Tensor) -> list[PromptLogprob]:
    sequence, vocab_size = chunk.sequence, logprobs_NV.shape[1]
    token_ids = sequence.token_ids[positions.start : positions.stop]
    ids_N1 = torch.tensor(token_ids, device=logprobs_NV.device).clamp(max=vocab_size - 1).unsqueeze(1)
    values: list[float] = logprobs_NV.gather(1, ids_N1).flatten().tolist()
    best = logprobs_NV.topk(min(sequence.sampling.num_logprobs or 0, vocab_size), dim=-1)
    entries = [
        PromptLogprob(value, tuple(map(TopLogprob, top_ids, top_values)))
        for value, top_ids, top_values in zip(values, best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    is_text = [
        token_id < vocab_size and value == value and not sequence.spans_within(position, position + 1)
        for position, token_id, value in zip(positions, token_ids, values, strict=True)
    ]
    return [entry if said else PromptLogprob(None) for entry, said in zip(entries, is_text, strict=True)]
