"""The rotary positions of a GGUF file, as config.json would have them.

llama.cpp's converter writes what a checkpoint says of YaRN; llama.cpp reads a scale and an attention factor for every
architecture, and YaRN's other numbers for a few. What a file has is meant here. What cannot be done is refused.
"""

from __future__ import annotations

from typing import Any

from foveal.errors import CheckpointError
from foveal.models.bounds import shown
from foveal.models.gguf.facts import Facts

Settings = dict[str, Any]
NONE, LINEAR, YARN, LONGROPE = "none", "linear", "yarn", "longrope"
DIVISORS = "rope_freqs.weight"  # Llama 3.1's way, written as a divisor for each frequency
SHORT, LONG = "rope_factors_short.weight", "rope_factors_long.weight"
INTERLEAVED = ("qwen3vl",)  # how these architectures mean their sections
OF_YARN = {
    "original_max_position_embeddings": "original_context_length",
    "attention_factor": "yarn_attn_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
    "mscale_all_dim": "yarn_log_multiplier",
}


def rope_settings(facts: Facts) -> Settings:
    """Raises CheckpointError for positions that are not implemented."""
    settings: Settings = {}
    scaling = _scaling(facts)
    if sections := facts.get("rope.dimension_sections"):
        scaling |= {"mrope_section": sections[:3], "mrope_interleaved": facts.architecture in INTERLEAVED}
    if scaling:
        settings["rope_scaling"] = scaling
    head_dim = facts.head_dim
    if (width := facts.get("rope.dimension_count", head_dim)) != head_dim:
        settings["partial_rotary_factor"] = width / head_dim
    return settings


def _scaling(facts: Facts) -> Settings:
    kind, own_factor = facts.get("rope.scaling.type", LINEAR), facts.get("rope.scaling.attn_factor", 1.0)
    divisors, short, long = (facts.numbers(name) for name in (DIVISORS, SHORT, LONG))
    if short and long:
        original = facts["rope.scaling.original_context_length"]
        return {**_divided(short, long, own_factor), "original_max_position_embeddings": original}
    if kind == YARN and own_factor == 1 and not divisors:
        return _yarn(facts)
    linear = facts.get("rope.scaling.factor", facts.get("rope.scale_linear", 1.0)) if kind == LINEAR else 1.0
    if own_factor != 1 or kind not in (NONE, LINEAR) or (divisors and linear not in (0, 1)):
        factors = f" and {DIVISORS}" if divisors else ""
        raise CheckpointError(
            f"{facts.file.path} has rope scaling of the type {shown(kind)} with the attention factor {own_factor:g}"
            f"{factors}, which is not implemented"
        )
    if divisors:
        return _divided(divisors, divisors, 1.0)
    return {} if linear in (0, 1) else {"rope_type": LINEAR, "factor": linear}


def _yarn(facts: Facts) -> Settings:
    """Its attention factor is the checkpoint's whole one. Its log multiplier goes with an `mscale` of 1."""
    if facts.get("rope.scaling.yarn_ext_factor", 1.0) not in (-1, 1):  # -1: not set
        raise CheckpointError(f"{facts.file.path} has a yarn_ext_factor that is not 1, which is not implemented")
    scaling: Settings = {"rope_type": YARN, "factor": facts.get("rope.scaling.factor", 1.0) or 1.0, "mscale": 1.0}
    for name, key in OF_YARN.items():
        if (found := facts.get(f"rope.scaling.{key}")) is not None:
            scaling[name] = found
    return scaling


def _divided(short: list[float], long: list[float], attention_factor: float) -> Settings:
    return {
        "rope_type": LONGROPE,
        "short_factor": short,
        "long_factor": long,
        "attention_factor": attention_factor,
    }
