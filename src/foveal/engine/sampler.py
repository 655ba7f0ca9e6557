"""Which token comes next: a pure function of logits, parameters and the place in the output.

A draw uses one number, made from (seed, number of output tokens before it) alone. So a request draws the same tokens
whoever shares its batch, and goes on with the same ones when it is resumed.

The order is the reference's (transformers): penalties, bias, temperature, top_k, top_p, min_p. Logprobs are those of
the model's own distribution, before any of it, as OpenAI gives them. Letters: N rows, V vocabulary, C candidates.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foveal.types import SamplingParams, TopLogprob


class Row(NamedTuple):
    """Whose next token a row of logits is for."""

    params: SamplingParams
    token_ids: Sequence[int]  # prompt, then output
    num_prompt_tokens: int

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens


class Draw(NamedTuple):
    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[TopLogprob, ...] = ()


def sample(logits_NV: Tensor, rows: Sequence[Row]) -> list[Draw | None]:
    """The next token of each row; None where the logits hold no number to choose by. logits_NV: float32, kept as is."""
    if all(_is_plain(row) for row in rows):
        adjusted_NV = logits_NV
    else:
        adjusted_NV = logits_NV.clone()
        for row, logits_V in zip(rows, adjusted_NV, strict=True):
            _adjust(logits_V, row)
    best = adjusted_NV.max(dim=-1)
    token_ids: list[int] = best.indices.tolist()
    is_sound: list[bool] = best.values.isfinite().tolist()  # NaN and inf are maxima; -inf is one if it is all there is
    drawing = [i for i, row in enumerate(rows) if is_sound[i] and row.params.temperature > 0]
    for members in _by_candidates(drawing, rows):
        drawn = _draw(adjusted_NV[members], [rows[i] for i in members])
        for i, token_id in zip(members, drawn, strict=True):
            token_ids[i] = token_id
    draws: list[Draw | None] = [Draw(token_ids[i]) if is_sound[i] else None for i in range(len(rows))]
    return _with_logprobs(draws, logits_NV, rows)


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) for one draw: 52 bits of BLAKE2b over the pair."""
    counter = struct.pack("<QQ", seed % 2**64, position)
    bits = int.from_bytes(hashlib.blake2b(counter, digest_size=8).digest(), "little")
    return (bits >> 12) * 2.0**-52


# --- before the draw --------------------------------------------------------------------------------------------------


def _is_plain(row: Row) -> bool:
    """Whether nothing is to be adjusted."""
    params = row.params
    return (
        params.repetition_penalty == 1
        and params.frequency_penalty == 0
        and params.presence_penalty == 0
        and not params.logit_bias
        and row.num_output_tokens >= params.min_tokens
    )


def _adjust(logits_V: Tensor, row: Row) -> None:
    """Apply penalties, bias and min_tokens to one row, in place."""
    params, device = row.params, logits_V.device
    if params.repetition_penalty != 1:
        seen = torch.tensor(row.token_ids, device=device)
        values = logits_V[seen]
        factor = params.repetition_penalty
        logits_V[seen] = torch.where(values > 0, values / factor, values * factor)
    if row.num_output_tokens and (params.frequency_penalty or params.presence_penalty):
        counts = Counter(row.token_ids[row.num_prompt_tokens :])
        penalties = [params.frequency_penalty * n + params.presence_penalty for n in counts.values()]
        logits_V[torch.tensor(list(counts), device=device)] -= torch.tensor(penalties, device=device)
    if params.logit_bias:
        token_ids, biases = zip(*params.logit_bias, strict=True)
        bias = torch.tensor(biases, dtype=logits_V.dtype, device=device)
        logits_V.index_add_(0, torch.tensor(token_ids, device=device), bias)
    if row.num_output_tokens < params.min_tokens:
        stops = [token_id for token_id in params.stop_token_ids if token_id < len(logits_V)]
        logits_V[torch.tensor(stops, dtype=torch.long, device=device)] = -torch.inf


# --- the draw ---------------------------------------------------------------------------------------------------------


def _by_candidates(members: list[int], rows: Sequence[Row]) -> list[list[int]]:
    """The rows that draw, in groups that need equally many candidates: a row's arithmetic never depends on others."""
    groups: dict[tuple[int, bool], list[int]] = {}
    for i in members:
        params = rows[i].params
        groups.setdefault((params.top_k, params.top_p < 1), []).append(i)
    return list(groups.values())


def _draw(logits_NV: Tensor, rows: Sequence[Row]) -> list[int]:
    """Draw from rows of equal top_k by the inverse of their cumulative distributions."""
    device = logits_NV.device
    params = [row.params for row in rows]

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device).unsqueeze(1)

    candidates_NC, ids_NC = _candidates(logits_NV, params[0])
    highest = candidates_NC.amax(dim=-1, keepdim=True)  # taken off first, so that a tiny temperature cannot overflow
    probs_NC = ((candidates_NC - highest).double() / column([p.temperature for p in params])).softmax(dim=-1)
    if params[0].top_p < 1:
        before_NC = probs_NC.cumsum(dim=-1) - probs_NC
        probs_NC = probs_NC.masked_fill(before_NC >= column([p.top_p for p in params]), 0)
        probs_NC[:, 0].clamp_(min=torch.finfo(torch.float64).tiny)  # top_p 0: the likeliest stays
    probs_NC = probs_NC.masked_fill(probs_NC < column([p.min_p for p in params]) * probs_NC.amax(-1, keepdim=True), 0)
    cumulative_NC = probs_NC.cumsum(dim=-1)
    points = column([uniform(row.params.seed, row.num_output_tokens) for row in rows]) * cumulative_NC[:, -1:]
    chosen = torch.searchsorted(cumulative_NC, points, right=True)
    token_ids: list[int] = (chosen if ids_NC is None else ids_NC.gather(1, chosen)).flatten().tolist()
    return token_ids


def _candidates(logits_NV: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor | None]:
    """The logits to draw from, and their token ids (None: all, in order); descending where top_k or top_p cuts."""
    if 0 < params.top_k < logits_NV.shape[1]:
        best = logits_NV.topk(params.top_k, dim=-1)
        return best.values, best.indices
    if params.top_p < 1:
        values, ids = logits_NV.sort(dim=-1, descending=True, stable=True)
        return values, ids
    return logits_NV, None


# --- after the draw ---------------------------------------------------------------------------------------------------


def _with_logprobs(draws: list[Draw | None], logits_NV: Tensor, rows: Sequence[Row]) -> list[Draw | None]:
    """Add logprobs to the draws of those who asked for them."""
    asking = [(i, draw) for i, draw in enumerate(draws) if draw and rows[i].params.num_logprobs is not None]
    if not asking:
        return draws
    logprobs_NV = logits_NV[[i for i, _ in asking]].log_softmax(dim=-1)
    num_tops = [rows[i].params.num_logprobs or 0 for i, _ in asking]
    best = logprobs_NV.topk(min(max(num_tops), logits_NV.shape[1]), dim=-1)
    drawn: list[float] = logprobs_NV.gather(1, _column_of_ids(asking, logits_NV.device)).flatten().tolist()
    lists = zip(asking, num_tops, drawn, best.indices.tolist(), best.values.tolist(), strict=True)
    for (i, draw), num_top, logprob, top_ids, top_logprobs in lists:
        top = map(TopLogprob, top_ids[:num_top], top_logprobs[:num_top])
        draws[i] = Draw(draw.token_id, logprob, tuple(top))
    return draws


def _column_of_ids(asking: list[tuple[int, Draw]], device: torch.device) -> Tensor:
    return torch.tensor([[draw.token_id] for _, draw in asking], device=device)
