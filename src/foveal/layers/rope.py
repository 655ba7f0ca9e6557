"""Rotary position embedding in the rotate-half form, with the frequencies that checkpoints ask for.

Angles are computed from the positions of a step, in float32. No table is kept: for a context of 128k positions it
would cost more memory and start-up time than it saves.

Letters: T rows of a step, R position rows, D head_dim, V variants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from foveal.errors import CheckpointError
from foveal.layers.step import Positions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from foveal.types import Prompt


class Rotation(NamedTuple):
    """The cos and sin that rotate a step's queries and keys: float32 [T, 1, rotary width] each, equal for all heads."""

    cos: Tensor
    sin: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Rope:
    """A checkpoint's rotary embedding. A sequence of variant v counts its positions from v * context_length on."""

    frequencies_VD: Tensor  # [V, D / 2]
    axes_D: Tensor  # int64 [D / 2]: which row of positions rotates each pair of channels
    attention_factor: float  # of cos and sin
    context_length: int
    original_context_length: int  # a sequence that may become longer has variant 1, if there is one

    @classmethod
    def read(cls, settings: Mapping[str, Any], head_dim: int) -> Rope:
        """From a decoder's settings. Raises CheckpointError for a rope type that is not implemented."""
        parameters = rope_parameters(settings)
        context_length = settings["max_position_embeddings"]
        original = parameters.get("original_max_position_embeddings", context_length)
        width = head_dim if _kind(parameters) == "proportional" else int(head_dim * parameters["partial_rotary_factor"])
        factor = 1.0
        if _kind(parameters) in ("longrope", "su"):
            factor = parameters.get("attention_factor") or longrope_attention_factor(context_length, original)
        elif _kind(parameters) == "yarn":
            parameters = {"original_max_position_embeddings": context_length} | parameters
            factor = yarn_attention_factor(parameters)
        return cls(
            scaled_frequencies(frequencies(width, parameters["rope_theta"]), parameters),
            section_axes(parameters, width // 2),
            factor,
            context_length,
            original,
        )

    def to(self, device: torch.device) -> Rope:
        return replace(self, frequencies_VD=self.frequencies_VD.to(device), axes_D=self.axes_D.to(device))

    def variant(self, max_total_tokens: int) -> int:
        """Which frequencies to use for a sequence of at most `max_total_tokens`."""
        return int(len(self.frequencies_VD) > 1 and max_total_tokens > self.original_context_length)

    def __call__(self, positions_RT: Tensor) -> Rotation:
        """int64 [R, T] -> the rotation of T rows."""
        if len(self.frequencies_VD) == 1:
            return rotation(positions_RT[self.axes_D].T * self.frequencies_VD, self.attention_factor)
        variants_T, positions_T = positions_RT[0] // self.context_length, positions_RT[0] % self.context_length
        return rotation(positions_T[:, None] * self.frequencies_VD[variants_T], self.attention_factor)


def counted_positions(prompt: Prompt, rope: Rope, max_total_tokens: int) -> Positions:
    """One row of positions, from 0 on; for a sequence of variant 1, from the context length on.

    So a position implies its variant, and one step can contain both.
    """
    variant = rope.variant(max_total_tokens)
    start = variant * rope.context_length
    return Positions(np.arange(start, start + len(prompt.token_ids))[None], delta=start, variant=variant)


def rope_parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The rope settings as one table: `rope_parameters` (newer), or `rope_scaling` and other keys (older).

    Raises CheckpointError where a file gives two original lengths, since libraries disagree on which one counts.
    """
    beside = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
    found = {"rope_theta": 10000.0, "partial_rotary_factor": 1.0} | {k: settings[k] for k in beside if k in settings}
    inner = dict(settings.get("rope_scaling") or {}) | dict(settings.get("rope_parameters") or {})
    original = "original_max_position_embeddings"
    if original in found and inner.get(original, found[original]) != found[original]:
        raise CheckpointError(f"the checkpoint has two values of {original}: {found[original]} and {inner[original]}")
    return found | inner


def frequencies(head_dim: int, theta: float) -> Tensor:
    """Radians per position of each pair of channels: theta^(-2i / head_dim), float32 [head_dim / 2] (Su et al., 2021).

    LongRoPE (Ding et al., 2024; "su" in Phi-3's first configs) divides them by one factor each.
    """
    return 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def scaled_frequencies(plain_D: Tensor, parameters: Mapping[str, Any]) -> Tensor:
    """[V, D / 2], scaled as `rope_type` says. Raises CheckpointError for a type that is not implemented.

    "dynamic" changes nothing within the context length, and no sequence is longer.
    """
    match _kind(parameters):
        case "default" | "mrope" | "dynamic":
            return plain_D[None]
        case "linear":
            return plain_D[None] / float(parameters["factor"])
        case "proportional":
            return _proportional_frequencies(plain_D, parameters)[None]
        case "llama3":
            return _llama3_frequencies(plain_D, parameters)[None]
        case "yarn":
            return _yarn_frequencies(plain_D, parameters)[None]
        case "longrope" | "su":
            short, long = parameters["short_factor"], parameters["long_factor"]
            if {len(short), len(long)} != {len(plain_D)}:
                raise CheckpointError(
                    f"rope has {len(short)} short and {len(long)} long factors, for heads of {len(plain_D)} pairs"
                )
            return plain_D / torch.tensor([short, long])
        case kind:
            known = "default, linear, dynamic, llama3, mrope, proportional, yarn, longrope or su"
            raise CheckpointError(f"the checkpoint's configuration has rope type {kind!r}; only {known} can be served")


def section_axes(parameters: Mapping[str, Any], num_pairs: int) -> Tensor:
    """Which position row rotates each pair: row 0, or time, height and width in sections (Qwen2-VL's M-RoPE).

    Interleaved sections (Qwen3-VL) take every third pair for height and width as long as their section lasts.
    """
    sections: Sequence[int] = parameters.get("mrope_section", (num_pairs,))
    if not parameters.get("mrope_interleaved"):
        return torch.repeat_interleave(torch.arange(len(sections)), torch.tensor(sections))
    axes_D = torch.zeros(num_pairs, dtype=torch.int64)
    for axis, length in enumerate(sections[1:], 1):
        axes_D[axis : 3 * length : 3] = axis
    return axes_D


def longrope_attention_factor(context_length: int, original_context_length: int) -> float:
    """LongRoPE's factor of cos and sin: sqrt(1 + ln(scale) / ln(original)), or 1 where the context was not extended."""
    scale = context_length / original_context_length
    return math.sqrt(1 + math.log(scale) / math.log(original_context_length)) if scale > 1 else 1.0


def yarn_attention_factor(parameters: Mapping[str, Any]) -> float:
    """YaRN's factor of cos and sin: 1 + ln(factor) / 10, or a ratio of two such (DeepSeek)."""
    if (given := parameters.get("attention_factor")) is not None:
        return float(given)

    def grown(weight: float) -> float:
        return 1 + 0.1 * weight * math.log(max(_yarn_factor(parameters), 1))

    above, below = parameters.get("mscale"), parameters.get("mscale_all_dim")
    return grown(above) / grown(below) if above and below else grown(1)


def rotation(angles: Tensor, attention_factor: float = 1.0) -> Rotation:
    """Angles float32 [T, rotary width / 2] -> the rotation of T rows."""
    angles = torch.cat([angles, angles], dim=-1).unsqueeze(1)
    return Rotation(angles.cos() * attention_factor, angles.sin() * attention_factor)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Rotate each pair (i, i + width / 2) of channels: [T, heads, head_dim] -> the same, computed in float32.

    Channels beyond the rotary width are not changed (Phi-4-mini rotates three quarters of them).
    """
    width = by.cos.shape[-1]
    if width < x.shape[-1]:
        return torch.cat([rotate(x[..., :width], by), x[..., width:]], dim=-1)
    left, right = x.chunk(2, dim=-1)
    return (x * by.cos + torch.cat([-right, left], dim=-1) * by.sin).to(x.dtype)


def _kind(parameters: Mapping[str, Any]) -> str:
    return str(parameters.get("rope_type") or parameters.get("type") or "default")


def _proportional_frequencies(plain_D: Tensor, parameters: Mapping[str, Any]) -> Tensor:
    """Gemma 4: the first pairs of a head turn, at the speeds that they have in a whole head; the rest stand still."""
    num_turning = int(parameters["partial_rotary_factor"] * 2 * len(plain_D) // 2)
    turning_D = plain_D / float(parameters.get("factor", 1.0))
    return torch.where(torch.arange(len(plain_D)) < num_turning, turning_D, 0.0)


def _llama3_frequencies(plain_D: Tensor, parameters: Mapping[str, Any]) -> Tensor:
    """Llama 3.1: low frequencies are divided by `factor`, high ones kept, those between interpolated."""
    names = ("original_max_position_embeddings", "factor", "low_freq_factor", "high_freq_factor")
    original, factor, low, high = (float(parameters[name]) for name in names)
    share_D = ((original * plain_D / (2 * math.pi) - low) / (high - low)).clamp(0, 1)  # of the undivided frequency
    return plain_D * (share_D + (1 - share_D) / factor)


def _yarn_frequencies(plain_D: Tensor, parameters: Mapping[str, Any]) -> Tensor:
    """YaRN (Peng et al., 2023): pairs that turn often are kept, those that turn rarely are divided by `factor`.

    Between the pairs that turn `beta_fast` and `beta_slow` times in the original context, a ramp over their numbers.
    """
    width, theta = 2 * len(plain_D), float(parameters["rope_theta"])
    if theta <= 1 or parameters.get("truncate") is False:
        raise CheckpointError("rope by YaRN can be served with a rope_theta above 1, and not with truncate false")

    def pair_that_turns(times: float) -> float:
        original = parameters["original_max_position_embeddings"]
        return width * math.log(original / (times * 2 * math.pi)) / (2 * math.log(theta))

    first = max(math.floor(pair_that_turns(parameters.get("beta_fast") or 32)), 0)
    last = min(math.ceil(pair_that_turns(parameters.get("beta_slow") or 1)), width - 1)
    length = last - first or 0.001  # the reference's, where both are the same pair
    share_D = 1 - ((torch.arange(len(plain_D)) - first) / length).clamp(0, 1)  # of the undivided frequency
    return plain_D * share_D + plain_D / _yarn_factor(parameters) * (1 - share_D)


def _yarn_factor(parameters: Mapping[str, Any]) -> float:
    if "factor" not in parameters:
        raise CheckpointError("the checkpoint's rope is of type yarn and has no factor")
    return float(parameters["factor"])
