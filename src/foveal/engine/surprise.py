"""Sampling by the surprise of tokens, -log p: typical_p and Mirostat. Pure functions of one row's probabilities.

Letter: C candidates. Their weights need not add up to one; tokens that must not be drawn have weight zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foveal.types import SamplingParams


def weighs_surprise(params: SamplingParams) -> bool:
    """Whether typical_p or Mirostat is on."""
    return params.typical_p < 1 or params.mirostat_target is not None


def typical(weights_C: Tensor, mass: float) -> Tensor:
    """Probabilities of the tokens whose surprise is nearest to the mean: the fewest that hold `mass`.

    At least one token stays, for any mass; at mass 1 all do. Source: Meister et al., Locally Typical Sampling (2022).
    """
    probs_C = weights_C / weights_C.sum()
    if mass >= 1:
        return probs_C
    surprise_C = -probs_C.log()  # infinite for tokens that must not be drawn, so these come last
    entropy = torch.special.entr(probs_C).sum()
    order_C = (surprise_C - entropy).abs().argsort(stable=True)
    sorted_C = probs_C[order_C]
    before_C = sorted_C.cumsum(dim=0) - sorted_C
    is_left_out_C = before_C >= max(mass, math.ulp(0))
    return probs_C.masked_fill(torch.zeros_like(is_left_out_C).scatter(0, order_C, is_left_out_C), 0)


def mirostat_bound(params: SamplingParams, mu: float | None) -> float:
    """The greatest surprise that may be drawn, in bits. `mu`: what `next_bound` returned at the draw before, if any.

    Source: Basu et al., Mirostat: a neural text decoding algorithm that directly controls perplexity (2021),
    algorithm 2, known as Mirostat 2.0.
    """
    if params.mirostat_target is None:
        return math.inf
    return 2 * params.mirostat_target if mu is None else mu


def within(probs_C: Tensor, mu: float) -> Tensor:
    """The probabilities of the tokens whose surprise is at most `mu` bits; the likeliest token always stays."""
    is_surprising_C = -probs_C.log2() > mu
    is_surprising_C[probs_C.argmax()] = False
    return probs_C.masked_fill(is_surprising_C, 0)


def next_bound(params: SamplingParams, mu: float, drawn_prob: float) -> float | None:
    """The bound for the next draw. `drawn_prob`: of the drawn token, before the bound was applied."""
    if params.mirostat_target is None:
        return None
    return mu - params.mirostat_lr * (-math.log2(drawn_prob) - params.mirostat_target)
