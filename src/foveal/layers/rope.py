"""Rotary position embedding in the rotate-half form, with the frequencies that checkpoints ask for.

Angles are computed from the positions of a step, in float32; no table is kept, since a table for a context of 128k
would cost more memory and start-up time than it ever saves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Rotation(NamedTuple):
    """What turns a step's queries and keys: float32 [T, 1, head_dim] each, the same for every head."""

    cos: Tensor
    sin: Tensor


def frequencies(head_dim: int, theta: float) -> Tensor:
    """Radians per position of each pair of channels: theta^(-2i / head_dim), float32 [head_dim / 2] (Su et al., 2021).

    LongRoPE (Ding et al., 2024; "su" in Phi-3's first configs) divides them by one factor each.
    """
    return 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def longrope_attention_factor(context_length: int, original_context_length: int) -> float:
    """LongRoPE's factor of cos and sin: sqrt(1 + ln(scale) / ln(original)), or 1 where the context was not extended."""
    scale = context_length / original_context_length
    return math.sqrt(1 + math.log(scale) / math.log(original_context_length)) if scale > 1 else 1.0


def rotation(angles: Tensor, attention_factor: float = 1.0) -> Rotation:
    """Angles float32 [T, head_dim / 2] -> the rotation of T rows."""
    angles = torch.cat([angles, angles], dim=-1).unsqueeze(1)
    return Rotation(angles.cos() * attention_factor, angles.sin() * attention_factor)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turn each pair (i, i + head_dim / 2) of channels: [T, heads, head_dim] -> the same, computed in float32."""
    left, right = x.chunk(2, dim=-1)
    return (x * by.cos + torch.cat([-right, left], dim=-1) * by.sin).to(x.dtype)
