"""What a setting of a checkpoint may be: its kind and its bounds, by its name, in whichever file it stands.

A checkpoint's files are untrusted. All that is read from them is checked here before anything is made from it, so that
10^9 layers or a list as `model_type` end in a sentence that names the file and the setting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from foveal.errors import CheckpointError

MAX_DEPTH = 16  # of objects and lists in a settings file; published ones have at most 5

Check = Callable[[Any], bool]
Rule = tuple[Check, str]  # and what it asks for, in words

_MANY = 2**31


def check_settings(file: str, settings: Mapping[str, Any], *, sizes_only: bool = False) -> None:
    """Raises CheckpointError that names the file and the first setting that is out of its bounds.

    sizes_only: what is no number is read by a library, which has kinds of its own for it.
    """
    for path, name, value in _walk(settings, (), 1, file):
        is_right, wanted = RULES.get(name, (lambda value: True, ""))
        if sizes_only and not (isinstance(value, int | float) and "number" in wanted):
            continue
        if not is_right(value):
            raise CheckpointError(f"{file}: {'.'.join((*path, name))} is {shown(value)}; it must be {wanted}")


def _walk(value: Any, path: tuple[str, ...], depth: int, file: str) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """Every setting, outer ones first: its path, its name and its value."""
    if depth > MAX_DEPTH:
        raise CheckpointError(f"{file} is nested more than {MAX_DEPTH} levels deep; it is no model's configuration")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield path, name, inner
            yield from _walk(inner, (*path, name), depth + 1, file)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, Mapping | list):
                yield from _walk(inner, path, depth + 1, file)


def shown(value: Any) -> str:
    """A value in an error, however long it is."""
    if isinstance(value, Mapping | list):
        return "an object" if isinstance(value, Mapping) else f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


# --- kinds ------------------------------------------------------------------------------------------------------------


def whole(low: int, high: int) -> Rule:
    def check(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return check, f"a whole number from {low} to {high}"


def number(low: float, high: float) -> Rule:
    """Of more than `low`."""

    def check(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low < value <= high

    return check, f"a number above {low:g}, at most {high:g}"


def list_of(rule: Rule, longest: int, shortest: int = 0) -> Rule:
    check, wanted = rule
    length = str(longest) if shortest == longest else f"at most {longest}"

    def check_all(value: Any) -> bool:
        return isinstance(value, list) and shortest <= len(value) <= longest and all(map(check, value))

    return check_all, f"a list of {length}, each {wanted}"


def either(*rules: Rule) -> Rule:
    return (lambda value: any(check(value) for check, _ in rules)), " or ".join(wanted for _, wanted in rules)


def one_of(*values: str) -> Rule:
    return (lambda value: value in values), " or ".join(values)


NOTHING: Rule = (lambda value: value is None), "null"
TEXT: Rule = (lambda value: isinstance(value, str)), "text"
OBJECT: Rule = (lambda value: isinstance(value, Mapping)), "an object"
SWITCH: Rule = (lambda value: isinstance(value, bool)), "true or false"
LAYERS, HEADS, WIDTH, TOKENS = whole(1, 1024), whole(1, 4096), whole(1, 2**18), whole(1, 2**27)
PIXELS, ID, INDEX = whole(1, 2**14), whole(0, _MANY), whole(-1024, 1024)
EPSILON = number(0, 1)
SIDES = either(PIXELS, list_of(PIXELS, 2, 2))
FACTORS = list_of(number(0, 1e6), 2**12)

RULES: dict[str, Rule] = {
    # what there is
    "model_type": TEXT,
    **dict.fromkeys(("text_config", "vision_config", "img_processor", "size", "max_image_size", "embd_layer"), OBJECT),
    **dict.fromkeys(
        ("rope_scaling", "rope_parameters", "quantization_config", "compression_config"), either(OBJECT, NOTHING)
    ),
    **dict.fromkeys(("dtype", "torch_dtype", "rope_type", "type"), either(TEXT, NOTHING)),
    **dict.fromkeys(
        (
            "hidden_act",
            "hidden_activation",
            "projector_hidden_act",
            "hd_transform_order",
            "vision_feature_select_strategy",
        ),
        TEXT,
    ),
    # quantised files
    **dict.fromkeys(("quant_method", "quant_algo", "checkpoint_format"), either(TEXT, NOTHING)),
    **dict.fromkeys(("config_groups", "sparsity_config", "transform_config"), either(OBJECT, NOTHING)),
    **dict.fromkeys(("weight_block_size", "block_structure"), either(list_of(WIDTH, 2, 2), NOTHING)),
    # decoders
    **dict.fromkeys(("num_hidden_layers", "depth", "sliding_window_pattern", "full_attention_interval"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "num_heads", "attention_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "head_dim"), either(HEADS, NOTHING)),
    **dict.fromkeys(
        ("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"), HEADS
    ),
    "linear_conv_kernel_dim": whole(2, 64),
    "num_experts_per_tok": whole(1, 4096),
    **dict.fromkeys(("num_experts", "top_k_experts"), either(whole(1, 4096), NOTHING)),
    "shared_expert_intermediate_size": WIDTH,
    "moe_intermediate_size": either(WIDTH, NOTHING),
    **dict.fromkeys(("global_head_dim", "num_global_key_value_heads"), either(HEADS, NOTHING)),
    **dict.fromkeys(("num_kv_shared_layers", "hidden_size_per_layer_input"), either(whole(0, 2**18), NOTHING)),
    **dict.fromkeys(("attention_k_eq_v", "enable_moe_block"), either(SWITCH, NOTHING)),
    **dict.fromkeys(
        ("attention_multiplier", "embedding_multiplier", "logits_scaling", "residual_multiplier"),
        either(number(0, 1e6), NOTHING),
    ),
    "final_logit_softcapping": either(number(0, 1e6), NOTHING),
    "per_layer_config": OBJECT,
    **dict.fromkeys(("hidden_size", "intermediate_size"), WIDTH),
    "vocab_size": whole(1, 2**22),
    **dict.fromkeys(("max_position_embeddings", "original_max_position_embeddings"), TOKENS),
    "sliding_window": either(TOKENS, NOTHING),
    "max_window_layers": whole(0, 1024),
    **dict.fromkeys(("use_sliding_window", "tie_word_embeddings", "mrope_interleaved"), either(SWITCH, NOTHING)),
    "layer_types": either(list_of(one_of("full_attention", "sliding_attention", "linear_attention"), 1024), NOTHING),
    "cross_attention_layers": list_of(whole(0, 1023), 1024),
    **dict.fromkeys(("rms_norm_eps", "layer_norm_eps", "norm_eps"), EPSILON),
    "query_pre_attn_scalar": number(0, 1e6),
    **dict.fromkeys(("rope_theta", "rope_local_base_freq"), number(0, 1e12)),
    "partial_rotary_factor": number(0, 1),
    **dict.fromkeys(("factor", "low_freq_factor", "high_freq_factor"), number(0, 1e6)),
    "attention_factor": either(number(0, 1e6), NOTHING),
    **dict.fromkeys(("beta_fast", "beta_slow"), either(number(0, 1e6), NOTHING)),
    **dict.fromkeys(("mscale", "mscale_all_dim"), either(number(-1, 1e6), NOTHING)),
    "truncate": either(SWITCH, NOTHING),
    **dict.fromkeys(("short_factor", "long_factor"), FACTORS),
    **dict.fromkeys(("full_attention", "sliding_attention"), OBJECT),  # of rope_parameters
    "mrope_section": list_of(whole(0, 4096), 3, 3),
    "eos_token_id": either(ID, list_of(ID, 1024), NOTHING),
    # images
    **dict.fromkeys(("image_size", "patch_size"), SIDES),
    **dict.fromkeys(("height", "width"), PIXELS),
    "crop_size": either(PIXELS, OBJECT, NOTHING),
    "supported_aspect_ratios": either(list_of(list_of(PIXELS, 2, 2), 4096), NOTHING),
    **dict.fromkeys(("shortest_edge", "longest_edge"), whole(1, _MANY)),
    **dict.fromkeys(("min_pixels", "max_pixels"), either(whole(1, _MANY), NOTHING)),
    **dict.fromkeys(("pooling_kernel_size", "merge_size", "spatial_merge_size", "scale_factor"), whole(1, 64)),
    **dict.fromkeys(("num_crops", "max_image_tiles", "max_num_tiles", "min_patches", "max_patches"), whole(1, 256)),
    **dict.fromkeys(("min_dynamic_patch", "max_dynamic_patch"), whole(1, 256)),
    "force_image_size": either(PIXELS, NOTHING),
    **dict.fromkeys(("mm_tokens_per_image", "image_seq_length"), whole(1, 2**16)),
    "num_global_layers": whole(0, 1024),
    "layer_idx": INDEX,
    "vision_feature_layer": either(INDEX, list_of(INDEX, 1024)),
    **dict.fromkeys(
        ("intermediate_layers_indices", "fullatt_block_indexes", "deepstack_visual_indexes"),
        list_of(whole(0, 1023), 1024),
    ),
    "window_size": PIXELS,
    "downsample_ratio": number(0, 1),
    "image_grid_pinpoints": either(list_of(list_of(PIXELS, 2, 2), 256, 1), NOTHING),
    **dict.fromkeys(
        ("image_token_id", "image_token_index", "boi_token_index", "eoi_token_index"),
        ID,
    ),
    **dict.fromkeys(("pad_token_id", "video_token_id", "audio_token_id"), either(ID, NOTHING)),
    "image_mean": list_of(number(-math.inf, 1e3), 3, 3),
    "image_std": list_of(number(0, 1e3), 3, 3),
}
"""Settings that are not listed are not read."""
