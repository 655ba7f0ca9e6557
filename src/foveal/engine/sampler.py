"""Draws the next token: a pure function of logits, parameters and the position in the output.

A draw uses one random number, a function of the seed and the number of output tokens before it. Mirostat also uses the
bound that the draw before returned. So a request draws the same tokens in any batch, and after it is resumed.

The order is that of the reference (transformers): penalties, bias, grammar, temperature, top_k, top_p, min_p,
typical_p. Mirostat applies to the tokens that remain. Logprobs are those of the model's own distribution, before all
of these, as in OpenAI's API. Letters: N rows, V vocabulary, C candidates.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foveal.engine.surprise import mirostat_bound, next_bound, typical, weighs_surprise, within
from foveal.types import SamplingParams, TopLogprob

NUM_LIKELIEST = 256  # candidates of top_p, in the first try
TINY = 5e-324  # replaces top_p 0, which then keeps the likeliest token


class Row(NamedTuple):
    """What the sampler needs to know of the request behind a row of logits."""

    params: SamplingParams
    token_ids: Sequence[int]  # prompt, then output
    num_prompt_tokens: int
    mirostat_mu: float | None = None  # of the draw before this one
    allowed_V: Tensor | None = None  # bool, tokens that the grammar allows; None: all
    closing: int | None = None  # the token that closes what is open, while the grammar allows no stop token

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens


class Draw(NamedTuple):
    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[TopLogprob, ...] = ()
    mirostat_mu: float | None = None  # for the next draw


def sample(logits_NV: Tensor, rows: Sequence[Row]) -> list[Draw | None]:
    """The next token of each row; None where the greatest logit is not finite. logits_NV: float32, not changed."""
    if all(_is_plain(row) for row in rows):
        adjusted_NV = logits_NV
    else:
        adjusted_NV = logits_NV.clone()
        for row, logits_V in zip(rows, adjusted_NV, strict=True):
            _adjust(logits_V, row)
    best = adjusted_NV.max(dim=-1)
    is_sound: list[bool] = best.values.isfinite().tolist()  # false for a NaN, an inf or a row of -inf
    likeliest = zip(best.indices.tolist(), is_sound, strict=True)
    draws = [Draw(token_id) if sound else None for token_id, sound in likeliest]
    drawing = [i for i, row in enumerate(rows) if is_sound[i] and row.params.temperature > 0]
    for members in _by_cut(drawing, rows):
        draw_all = _draw_by_surprise if weighs_surprise(rows[members[0]].params) else _draw
        drawn = draw_all(adjusted_NV[members], [rows[i] for i in members])
        for i, draw in zip(members, drawn, strict=True):
            draws[i] = draw
    return _with_logprobs(draws, logits_NV, rows)


def uniform(seed: int, position: int) -> float:
    """A random number in [0, 1) for one draw: 52 bits of BLAKE2b over the pair."""
    counter = struct.pack("<QQ", seed % 2**64, position)
    bits = int.from_bytes(hashlib.blake2b(counter, digest_size=8).digest(), "little")
    return (bits >> 12) * 2.0**-52


# --- before the draw --------------------------------------------------------------------------------------------------


def _is_plain(row: Row) -> bool:
    """Whether `_adjust` would change nothing."""
    params = row.params
    return (
        params.repetition_penalty == 1
        and params.frequency_penalty == 0
        and params.presence_penalty == 0
        and not params.logit_bias
        and row.allowed_V is None
        and row.num_output_tokens >= params.min_tokens
    )


def _adjust(logits_V: Tensor, row: Row) -> None:
    """Apply penalties, bias, grammar and min_tokens to one row, in place."""
    params, device = row.params, logits_V.device
    if params.repetition_penalty != 1:
        known = [token_id for token_id in row.token_ids if token_id < len(logits_V)]  # image tokens may lie beyond
        seen = torch.tensor(known, dtype=torch.long, device=device)
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
    stops = [token_id for token_id in params.stop_token_ids if token_id < len(logits_V)]
    if row.closing is not None and stops:  # whoever wants to stop closes what is open
        logits_V[row.closing] = torch.maximum(logits_V[row.closing], logits_V[stops].amax())
    if row.allowed_V is not None:
        logits_V.masked_fill_(~row.allowed_V.to(device), -torch.inf)
    if row.num_output_tokens < params.min_tokens:
        going_on_V = logits_V.index_fill(0, torch.tensor(stops, dtype=torch.long, device=device), -torch.inf)
        if row.allowed_V is None or going_on_V.amax() > -torch.inf:  # a complete grammar wins
            logits_V.copy_(going_on_V)


# --- the draw ---------------------------------------------------------------------------------------------------------


def _by_cut(members: Sequence[int], rows: Sequence[Row]) -> list[list[int]]:
    """The rows that draw, grouped by top_k and by which other truncations apply. A group is computed together.

    A row's group depends on its own parameters only, so its result does not depend on the other rows of the batch.
    """
    groups: dict[tuple[int, bool, bool], list[int]] = {}
    for i in members:
        params = rows[i].params
        groups.setdefault((params.top_k, params.top_p < 1, weighs_surprise(params)), []).append(i)
    return list(groups.values())


def _draw(logits_NV: Tensor, rows: Sequence[Row], num_likeliest: int = NUM_LIKELIEST) -> list[Draw]:
    """Draw for the rows of a group.

    top_p sorts only the `num_likeliest` tokens: sorting all would take longer than the rest of a small model's step.
    Rows in which these tokens hold less probability than top_p are drawn again from all tokens.
    """
    params, vocab_size = [row.params for row in rows], logits_NV.shape[1]
    probs_NC, kept_NC, ids_NC = _cut(logits_NV, params, num_likeliest)
    draws = [Draw(token_id) for token_id in _ids_of(_pick(kept_NC, rows), ids_NC)]
    if params[0].top_p < 1 and not params[0].top_k and num_likeliest < vocab_size:
        masses = probs_NC.sum(dim=-1).tolist()
        flat = [i for i, mass in enumerate(masses) if mass < params[i].top_p]
        drawn = _draw(logits_NV[flat], [rows[i] for i in flat], vocab_size) if flat else []
        for i, draw in zip(flat, drawn, strict=True):
            draws[i] = draw
    return draws


def _draw_by_surprise(logits_NV: Tensor, rows: Sequence[Row]) -> list[Draw]:
    """Draw for a group that uses typical_p or Mirostat: from all tokens, and row by row, since few requests use it."""
    _, kept_NC, ids_NC = _cut(logits_NV, [row.params for row in rows], logits_NV.shape[1])
    typical_NC = torch.stack([typical(kept_C, row.params.typical_p) for kept_C, row in zip(kept_NC, rows, strict=True)])
    bounds = [mirostat_bound(row.params, row.mirostat_mu) for row in rows]
    chosen_N1 = _pick(torch.stack([within(*pair) for pair in zip(typical_NC, bounds, strict=True)]), rows)
    probs = typical_NC.gather(1, chosen_N1).flatten().tolist()
    drawn = zip(_ids_of(chosen_N1, ids_NC), rows, bounds, probs, strict=True)
    return [Draw(token_id, mirostat_mu=next_bound(row.params, mu, prob)) for token_id, row, mu, prob in drawn]


def _cut(
    logits_NV: Tensor, params: Sequence[SamplingParams], num_likeliest: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Apply temperature, top_k, top_p and min_p to a group's rows.

    Returns probabilities [N, C] before and after top_p and min_p, which set zeros, and the ids of the candidates
    (None: all, in order).
    """

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits_NV.device).unsqueeze(1)

    highest = logits_NV.amax(dim=-1, keepdim=True)  # subtracted first, so that a tiny temperature cannot overflow
    scaled_NV = (logits_NV - highest).double() / column([p.temperature for p in params])
    probs_NC, ids_NC = _candidates(scaled_NV, params[0], num_likeliest)
    kept_NC = probs_NC.masked_fill(probs_NC < column([p.min_p for p in params]) * probs_NC.amax(-1, keepdim=True), 0)
    if params[0].top_p < 1:
        before_NC = probs_NC.cumsum(dim=-1) - probs_NC
        kept_NC.masked_fill_(before_NC >= column([max(p.top_p, TINY) for p in params]), 0)
    return probs_NC, kept_NC, ids_NC


def _pick(kept_NC: Tensor, rows: Sequence[Row]) -> Tensor:
    """One candidate of each row, [N, 1], by inverting its cumulative distribution. Weights need not add up to one."""
    cumulative_NC = kept_NC.cumsum(dim=-1)
    numbers = [[uniform(row.params.seed, row.num_output_tokens)] for row in rows]
    points_N1 = torch.tensor(numbers, dtype=torch.float64, device=kept_NC.device) * cumulative_NC[:, -1:]
    return torch.searchsorted(cumulative_NC, points_N1, right=True)


def _ids_of(chosen_N1: Tensor, ids_NC: Tensor | None) -> list[int]:
    token_ids: list[int] = (chosen_N1 if ids_NC is None else ids_NC.gather(1, chosen_N1)).flatten().tolist()
    return token_ids


def _candidates(scaled_NV: Tensor, params: SamplingParams, num_likeliest: int) -> tuple[Tensor, Tensor | None]:
    """Probabilities [N, C] of the tokens that may be drawn, and their ids (None: all, in order).

    They are in descending order if top_k or top_p applies. They add up to one, unless top_p left tokens beyond the
    `num_likeliest` out.
    """
    vocab_size = scaled_NV.shape[1]
    if params.top_k:
        best = scaled_NV.topk(min(params.top_k, vocab_size), dim=-1)
        return best.values.softmax(dim=-1), best.indices
    if params.top_p < 1:
        best = scaled_NV.topk(min(num_likeliest, vocab_size), dim=-1)
        return (best.values - scaled_NV.logsumexp(dim=-1, keepdim=True)).exp(), best.indices
    return scaled_NV.softmax(dim=-1), None


# --- after the draw ---------------------------------------------------------------------------------------------------


def _with_logprobs(draws: list[Draw | None], logits_NV: Tensor, rows: Sequence[Row]) -> list[Draw | None]:
    """Add logprobs to the draws of the rows that request them."""
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
        draws[i] = draw._replace(logprob=logprob, top_logprobs=tuple(top))
    return draws


def _column_of_ids(asking: list[tuple[int, Draw]], device: torch.device) -> Tensor:
    return torch.tensor([[draw.token_id] for _, draw in asking], device=device)
