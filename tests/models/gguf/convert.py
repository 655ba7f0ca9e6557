"""Checkpoints as GGUF files, by gguf's own writer and names, as llama.cpp's converter would write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[Any]
Kind = Callable[[str, Array], gguf.GGMLQuantizationType]
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
    "qwen2_vl_text": "qwen2vl",
    "qwen2_vl": "qwen2vl",
    "qwen2_5_vl_text": "qwen2vl",
    "qwen3_vl_text": "qwen3vl",
}
TEXT_PREFIXES = ("model.language_model.", "language_model.model.", "model.text_model.", "model.")


def in_float32(name: str, values: Array) -> gguf.GGMLQuantizationType:
    return gguf.GGMLQuantizationType.F32


def in_blocks(name: str, values: Array) -> gguf.GGMLQuantizationType:
    """Matrices in Q8_0 and half precision by turns, where their rows are whole blocks."""
    is_matrix = values.ndim == 2 and not name.startswith("v.position")
    if is_matrix and values.shape[1] % 32 == 0:
        return gguf.GGMLQuantizationType.Q8_0
    return gguf.GGMLQuantizationType.F16 if is_matrix else gguf.GGMLQuantizationType.F32


def settings_of(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    config = json.loads((folder / "config.json").read_text())
    return config, config.get("text_config", config)


def tensors_of(folder: Path) -> dict[str, Array]:
    return {name: array.astype(np.float32) for name, array in load_file(folder / "model.safetensors").items()}


def _add(writer: Any, name: str, values: Array, kind: Kind) -> None:
    chosen = kind(name, values)
    if values.ndim == 1:
        chosen = gguf.GGMLQuantizationType.F32
    values = np.ascontiguousarray(values)
    writer.add_tensor(name, gguf.quants.quantize(values, chosen), raw_dtype=chosen)


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- decoders ---------------------------------------------------------------------------------------------------------


def write_decoder(folder: Path, path: Path, kind: Kind = in_float32) -> Path:
    config, text = settings_of(folder)
    model_type = text.get("model_type", config["model_type"])
    architecture = ARCHITECTURES[model_type]
    writer = gguf.GGUFWriter(path, architecture)
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    head_dim = text.get("head_dim") or text["hidden_size"] // heads
    rope = text.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_rope_freq_base(rope["rope_theta"])
    factors = _rope_factors(rope, head_dim)
    _add_rope_scaling(writer, rope, text)
    if model_type == "phi3":
        writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1)))
    if text.get("head_dim"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if model_type == "gemma3_text":
        full = [i + 1 for i, kind in enumerate(text["layer_types"]) if kind == "full_attention"]
        writer.add_uint32("gemma3.attention.sliding_window_pattern", full[0] if full else 6)
        writer.add_attention_scale(text["query_pre_attn_scalar"] ** -0.5)
    if text.get("sliding_window") and model_type in ("gemma3_text", "phi3", "mistral"):
        writer.add_sliding_window(text["sliding_window"])
    if rope.get("mrope_section"):
        writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
    add_tokenizer(writer, folder, text["vocab_size"])
    for name, numbers in factors.items():
        writer.add_tensor(name, np.array(numbers, dtype=np.float32))
    for name, values in _decoder(folder, architecture, heads, kv_heads, text["num_hidden_layers"]):
        _add(writer, name, values, kind)
    _finish(writer)
    return path


def _add_rope_scaling(writer: Any, rope: dict[str, Any], text: dict[str, Any]) -> None:
    match rope.get("rope_type"):
        case "longrope":
            original = text["original_max_position_embeddings"]
            scale = text["max_position_embeddings"] / original
            writer.add_rope_scaling_orig_ctx_len(original)
            writer.add_rope_scaling_attn_factors((1 + np.log(scale) / np.log(original)) ** 0.5)
        case "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["factor"])
        case "yarn":
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(rope["factor"])
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
            for name, add in (
                ("attention_factor", writer.add_rope_scaling_yarn_attn_factor),
                ("beta_fast", writer.add_rope_scaling_yarn_beta_fast),
                ("beta_slow", writer.add_rope_scaling_yarn_beta_slow),
                ("mscale_all_dim", writer.add_rope_scaling_yarn_log_mul),
            ):
                if rope.get(name) is not None:
                    add(rope[name])


def _rope_factors(rope: dict[str, Any], head_dim: int) -> dict[str, Any]:
    """What the converter writes for rotary positions that are scaled frequency by frequency."""
    if rope.get("rope_type") == "longrope":
        return {f"rope_factors_{which}.weight": rope[f"{which}_factor"] for which in ("short", "long")}
    if rope.get("rope_type") != "llama3":
        return {}
    plain = rope["rope_theta"] ** -(np.arange(0, head_dim, 2) / head_dim)
    turns = rope["original_max_position_embeddings"] * plain / (2 * np.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    share = np.clip((turns - low) / (high - low), 0, 1)
    return {"rope_freqs.weight": 1 / (share + (1 - share) / rope["factor"])}


def _decoder(folder: Path, architecture: str, heads: int, kv_heads: int, layers: int) -> Iterator[tuple[str, Array]]:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], layers)
    for name, values in tensors_of(folder).items():
        prefix = next((each for each in TEXT_PREFIXES if name.startswith(each)), "")
        plain = f"model.{name.removeprefix(prefix)}" if prefix else name.removeprefix("language_model.")
        if any(part in name for part in ("vision", "visual", "projector", "connector", "image_newline")):
            continue
        new = names.get_name(plain, try_suffixes=(".weight", ".bias"))
        assert new, f"{name}: llama.cpp has no name for {plain}"
        if architecture == "llama" and ".q_proj." in name:
            values = _paired(values, heads)
        if architecture == "llama" and ".k_proj." in name:
            values = _paired(values, kv_heads)
        if architecture == "gemma3" and plain.endswith("norm.weight"):
            values = values + 1
        yield new, values


def _paired(values: Array, heads: int) -> Array:
    """llama.cpp rotates neighbouring pairs of a Llama's head, the checkpoint its two halves."""
    apart = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return apart.swapaxes(1, 2).reshape(values.shape)


def add_tokenizer(writer: Any, folder: Path, vocab_size: int) -> None:
    """A byte-level one, of `tests.builders.byte_tokenizer`."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    added = {each["id"]: each["content"] for each in tokenizer["added_tokens"]}
    named = {number: token for token, number in tokenizer["model"]["vocab"].items()} | added
    count = max(vocab_size, 1 + max(named))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([named.get(i, f"[PAD{i}]") for i in range(count)])
    kinds = [gguf.TokenType.CONTROL if i in added else gguf.TokenType.NORMAL for i in range(count)]
    writer.add_token_types([kind if i in named else gguf.TokenType.UNUSED for i, kind in enumerate(kinds)])
    writer.add_token_merges(["a a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)


# --- vision parts -----------------------------------------------------------------------------------------------------

PROJECTORS = {
    "idefics3": "idefics3",
    "smolvlm": "idefics3",
    "gemma3": "gemma3",
    "llava": "mlp",
    "llava_next": "mlp",
    "internvl": "internvl",
    "qwen2_vl": "qwen2vl_merger",
    "qwen2_5_vl": "qwen2.5vl_merger",
    "qwen3_vl": "qwen3vl_merger",
}


def write_vision(folder: Path, path: Path, kind: Kind = in_float32, width: int | None = None) -> Path:
    """width: of the decoder that it says it is for; None: its own."""
    config, text = settings_of(folder)
    vision, family = config["vision_config"], config["model_type"]
    images = json.loads((folder / "preprocessor_config.json").read_text())
    layers = vision.get("num_hidden_layers") or vision["depth"]
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(PROJECTORS[family])
    writer.add_vision_projection_dim(width or text["hidden_size"])
    writer.add_vision_patch_size(_side(vision["patch_size"]))
    writer.add_vision_image_size(_side(vision.get("image_size", 560)))
    writer.add_vision_embedding_length(vision.get("embed_dim") or vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision.get("intermediate_size", 0))
    writer.add_vision_block_count(_used(config, layers))
    writer.add_vision_head_count(vision.get("num_attention_heads") or vision["num_heads"])
    writer.add_vision_attention_layernorm_eps(vision.get("layer_norm_eps", 1e-6))
    writer.add_vision_image_mean(images["image_mean"])
    writer.add_vision_image_std(images["image_std"])
    _add_own(writer, config, images, family, layers)
    for name, values in _vision(folder, family, layers, _used(config, layers)):
        _add(writer, name, values, kind)
    _finish(writer)
    return path


def _side(size: Any) -> int:
    return int(size[0] if isinstance(size, list) else size)


def _used(config: dict[str, Any], layers: int) -> int:
    """LLaVA's file has the layers that are run."""
    layer = config.get("vision_feature_layer", -1)
    is_one = config["model_type"].startswith("llava") and isinstance(layer, int)
    return layers + 1 + layer if is_one and layer < 0 else layers


def _add_own(writer: Any, config: dict[str, Any], images: dict[str, Any], family: str, layers: int) -> None:
    vision, size = config["vision_config"], images.get("size") or {}
    if family in ("idefics3", "smolvlm"):
        writer.add_vision_projector_scale_factor(config["scale_factor"])
        writer.add_vision_preproc_image_size(size["longest_edge"])
    if family == "gemma3":
        side = vision["image_size"] // vision["patch_size"]
        writer.add_vision_projector_scale_factor(round(side / config["mm_tokens_per_image"] ** 0.5))
    if family == "internvl":
        writer.add_vision_projector_scale_factor(round(1 / config["downsample_ratio"]))
        writer.add_uint32("clip.vision.preproc_min_tiles", images.get("min_patches", 1))
        writer.add_uint32("clip.vision.preproc_max_tiles", images.get("max_patches", 12))
    if family.startswith("llava"):
        writer.add_vision_use_gelu(vision["hidden_act"].startswith("gelu"))
        if isinstance(several := config["vision_feature_layer"], list):
            writer.add_array("clip.vision.feature_layer", [layer % (layers + 1) for layer in several])
    if family == "llava_next":
        writer.add_array(
            "clip.vision.image_grid_pinpoints", [x for pair in config["image_grid_pinpoints"] for x in pair]
        )
    if family.startswith("qwen"):
        writer.add_uint32("clip.vision.image_min_pixels", images.get("min_pixels") or size["shortest_edge"])
        writer.add_uint32("clip.vision.image_max_pixels", images.get("max_pixels") or size["longest_edge"])
        writer.add_vision_spatial_merge_size(vision["spatial_merge_size"])
    if family == "qwen2_5_vl":
        writer.add_array("clip.vision.wa_layer_indexes", vision["fullatt_block_indexes"])
        writer.add_uint32("clip.vision.window_size", vision["window_size"])
    if family == "qwen3_vl":
        writer.add_array(
            "clip.vision.is_deepstack_layers", [i in vision["deepstack_visual_indexes"] for i in range(layers)]
        )


def _vision(folder: Path, family: str, layers: int, used: int) -> Iterator[tuple[str, Array]]:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, layers)
    config, _ = settings_of(folder)
    deep = config["vision_config"].get("deepstack_visual_indexes", [])
    for name, values in tensors_of(folder).items():
        plain = _renamed(name.removeprefix("model."), family, deep)
        is_named = plain.startswith(("mm.", "model.image_newline"))
        new = plain if is_named else names.get_name(plain, try_suffixes=(".weight", ".bias"))
        if (
            new is None
            or new.startswith(("blk.", "token_embd"))
            or any(new.startswith(f"v.blk.{i}.") for i in range(used, layers))
        ):
            continue
        if new == "mm.soft_emb_norm.weight":
            yield new, values + 1
        elif new == "v.patch_embd.weight" and values.ndim == 5:
            yield new, values[:, :, 0]
            yield f"{new}.1", values[:, :, 1]
        elif "attn_qkv" in new and family != "qwen3_vl":
            for each, part in zip("qkv", np.split(values, 3), strict=True):
                yield new.replace("attn_qkv", f"attn_{each}"), part
        else:
            yield new, values


def _renamed(name: str, family: str, deep: list[int]) -> str:
    """From transformers' layouts to what llama.cpp's names are told from, or to these themselves."""
    if family in ("idefics3", "smolvlm"):
        return f"model.{name}"
    if family == "internvl":
        for ours, theirs in (("layer_norm", "0"), ("linear_1", "1"), ("linear_2", "3")):
            name = name.replace(f"multi_modal_projector.{ours}", f"mm.model.mlp.{theirs}")
        return name if name.startswith("mm.") else f"model.{name}"
    if family == "qwen3_vl":
        name = name.replace("merger.norm", "merger.ln_q").replace("merger.linear_fc1", "merger.mlp.0")
        name = name.replace("merger.linear_fc2", "merger.mlp.2")
        for i, layer in enumerate(deep):
            if name.startswith(f"visual.deepstack_merger_list.{i}."):
                return name.replace(f"visual.deepstack_merger_list.{i}", f"v.deepstack.{layer}").replace("linear_", "")
    if name.startswith("vision_tower.") and not name.startswith("vision_tower.vision_model."):
        name = name.replace("vision_tower.", "vision_tower.vision_model.", 1)
    name = name.replace("multi_modal_projector.linear_1", "mm.0").replace("multi_modal_projector.linear_2", "mm.2")
    name = name.replace("multi_modal_projector.mm_soft_emb_norm", "mm.soft_emb_norm")
    name = name.replace("multi_modal_projector.mm_input_projection_weight", "mm.input_projection.weight")
    return "model.image_newline" if name == "image_newline" else name
