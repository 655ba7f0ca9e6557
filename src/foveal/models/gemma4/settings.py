"""What Gemma 4's decoder takes from config.json: its layers differ in windows, heads and where their keys come from.

Letters: W hidden width, H query heads, K key-value heads, D head_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal.errors import CheckpointError
from foveal.layers.activation import activation
from foveal.layers.decoder import Heads
from foveal.layers.rope import Rope
from foveal.models.bounds import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foveal.layers.activation import Activation
    from foveal.models.checkpoint import Checkpoint, Settings

SLIDING, FULL = "sliding_attention", "full_attention"
PATTERN = 6  # of files that do not list their layers: each sixth is full
UNROTATED = {  # what rope is where a file has no rope settings
    SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
    FULL: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
}
MARKS = ("image_token_id", "video_token_id", "audio_token_id")


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """What differs from layer to layer."""

    window: int | None  # tokens that a row attends to; None: all
    heads: Heads
    source: int  # the layer whose keys and values it reads: itself, or an earlier one
    has_values: bool = True  # otherwise its values are its keys, before norm and rotation


@dataclass(frozen=True, slots=True, eq=False)
class DecoderSettings:
    """The whole decoder's."""

    vocab_size: int
    max_model_len: int
    width: int  # W
    rms_norm_eps: float
    activation: Activation
    layers: tuple[LayerPlan, ...]
    ropes: Mapping[int | None, Rope]  # by the window of the layers
    ties_embeddings: bool
    input_width: int  # of the input that each layer has of its own; 0: it has none
    experts_per_token: int  # 0: there are no experts
    logit_cap: float | None
    two_way_images: bool  # in layers with a window, an image's tokens attend to each other
    marks: tuple[int, ...]  # tokens that stand for features; the tables are asked for `blank` in their place
    blank: int

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> DecoderSettings:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        settings = checkpoint.decoder_config
        window, layers = settings["sliding_window"], layer_plans(settings)
        kinds = {plan.window: plan.heads.head_dim for plan in layers}
        ropes = {**UNROTATED, **(settings.get("rope_parameters") or {})}
        of_kind = {window: ropes[SLIDING], None: ropes[FULL]}
        has_images = "text_config" in checkpoint.config
        return cls(
            vocab_size=settings["vocab_size"],
            max_model_len=settings["max_position_embeddings"],
            width=settings["hidden_size"],
            rms_norm_eps=settings["rms_norm_eps"],
            activation=activation(settings["hidden_activation"]),
            layers=layers,
            ropes={
                kind: Rope.read({**settings, "rope_parameters": of_kind[kind]}, size) for kind, size in kinds.items()
            },
            ties_embeddings=bool(settings["tie_word_embeddings"]),
            input_width=settings.get("hidden_size_per_layer_input") or 0,
            experts_per_token=_experts_per_token(settings),
            logit_cap=settings.get("final_logit_softcapping"),
            two_way_images=settings.get("use_bidirectional_attention") == "vision",
            marks=_marks(checkpoint.config) if has_images else (),
            blank=settings.get("pad_token_id") or 0,
        )


def layer_plans(settings: Settings) -> tuple[LayerPlan, ...]:
    """Raises CheckpointError where a layer would read keys that no layer before it makes."""
    num_layers, num_shared = settings["num_hidden_layers"], settings.get("num_kv_shared_layers") or 0
    if settings["sliding_window"] is None or num_shared >= num_layers:
        raise CheckpointError(f"{settings.place}: sliding_window is null, or all layers share their keys")
    usual = [FULL if (i + 1) % PATTERN == 0 else SLIDING for i in range(num_layers)]
    kinds = [*(settings.get("layer_types") or usual)[: num_layers - 1], FULL]  # the last one always is
    if len(kinds) != num_layers or not {*kinds} <= {SLIDING, FULL}:
        raise CheckpointError(f"{settings.place}: layer_types must be {num_layers}, each {SLIDING} or {FULL}")
    first_shared = num_layers - num_shared
    plans = []
    for i, kind in enumerate(kinds):
        own = kinds[: min(i + 1, first_shared)]
        if kind not in own:
            raise CheckpointError(f"{settings.place}: layer {i} shares keys of {kind}, which no layer before it has")
        source = i if i < first_shared else len(own) - 1 - own[::-1].index(kind)
        is_full = kind == FULL
        plans.append(
            LayerPlan(
                None if is_full else settings["sliding_window"],
                _heads(settings, i, is_full=is_full),
                source,
                has_values=not (is_full and settings.get("attention_k_eq_v")),
            )
        )
    return tuple(plans)


def _experts_per_token(settings: Settings) -> int:
    if not settings.get("enable_moe_block"):
        return 0
    if settings.get("top_k_experts") is None:
        raise CheckpointError(f"{settings.place}: enable_moe_block needs top_k_experts")
    return int(settings["top_k_experts"])


def _marks(config: Settings) -> tuple[int, ...]:
    found = (config.get(name) for name in MARKS)
    return tuple(mark for mark in found if mark is not None)


def _heads(settings: Settings, layer: int, *, is_full: bool) -> Heads:
    """Full layers have wider heads, and may have fewer keys. Newer files say so layer by layer."""
    own: Mapping[str, Any] = {}
    if "per_layer_config" in settings:
        own = _of_layer(settings["per_layer_config"], layer)
    elif is_full:
        own = {"head_dim": settings["global_head_dim"]}
        if settings.get("attention_k_eq_v") and settings.get("num_global_key_value_heads"):
            own = {**own, "num_key_value_heads": settings["num_global_key_value_heads"]}
    found = {**settings, **own}
    num_heads = found["num_attention_heads"]
    head_dim = found["head_dim"] or found["hidden_size"] // num_heads
    return Heads(num_heads, found["num_key_value_heads"] or num_heads, head_dim)


def _of_layer(by_number: Settings, layer: int) -> Mapping[str, Any]:
    """Its numbers may be written with zeros before them."""
    for number, found in by_number.items():
        if not (number.isdecimal() and isinstance(found, dict)):
            raise CheckpointError(f"{by_number.place}: {shown(number)} must be the number of a layer, with an object")
        if int(number) == layer:
            return found
    return {}
