"""A checkpoint of one of our two shapes as GGUF files: the decoder, and the vision part beside it.

    python gguf_twin.py FOLDER WIDTH      (q8_0, q4_0, f16 or bf16)

Writes FOLDER/WIDTH.gguf and FOLDER/mmproj-WIDTH.gguf. It needs numpy and the package gguf, and nothing of Foveal, so
that it runs in the Python of a peer. Names and permutations are those of llama.cpp's own conversion.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
TYPES = {
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
}
FULL = gguf.GGMLQuantizationType.F32


def tensors(folder: Path) -> Iterator[tuple[str, Array]]:
    """Names and float32 values of a checkpoint in bfloat16, one after the other."""
    for path in sorted(folder.glob("*.safetensors")):
        raw = np.memmap(path, np.uint8, "r")
        num_header = int(raw[:8].view("<u8")[0])
        header = json.loads(bytes(raw[8 : 8 + num_header]))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            start, end = (8 + num_header + offset for offset in entry["data_offsets"])
            halves = raw[start:end].view("<u2").astype("<u4")
            yield name, (halves << 16).view("<f4").reshape(entry["shape"])


def is_vision(name: str) -> bool:
    return name.startswith(("model.vision_model.", "model.connector.", "visual."))


def write(writer: Any, named: Iterator[tuple[str, Array]], names: Any, width: str) -> None:
    """Matrices in `width`; what is small or no matrix in float32, as in published files."""
    for name, values in named:
        base, _, frame = name.partition(".weight.")  # the second frame's convolution ends in ".weight.1"
        new = names.get_name(f"{base}.weight" if frame else name, try_suffixes=(".weight", ".bias"))
        assert new, f"llama.cpp has no name for {name}"
        new = f"{new}.{frame}" if frame else new
        is_matrix = (values.ndim == 2 and "embd" not in new) or new.startswith("token_embd")
        kind = TYPES[width][0] if is_matrix else FULL
        writer.add_tensor(new, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- the decoder ------------------------------------------------------------------------------------------------------


def write_decoder(folder: Path, width: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    is_qwen = config["model_type"] == "qwen2_vl"
    text = config["text_config"]
    arch = gguf.MODEL_ARCH.QWEN2VL if is_qwen else gguf.MODEL_ARCH.LLAMA
    writer = gguf.GGUFWriter(folder / f"{width}.gguf", gguf.MODEL_ARCH_NAMES[arch], use_temp_file=False)
    num_heads, num_kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    head_dim = text["hidden_size"] // num_heads
    writer.add_name(folder.name)
    writer.add_file_type(TYPES[width][1])
    writer.add_vocab_size(text["vocab_size"])
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(num_heads)
    writer.add_head_count_kv(num_kv_heads)
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_rope_freq_base(text["rope_parameters"]["rope_theta"])
    if is_qwen:
        writer.add_rope_dimension_sections([*text["rope_parameters"]["mrope_section"], 0])
    else:
        writer.add_rope_dimension_count(head_dim)
    _add_tokenizer(writer, folder)
    names = gguf.get_tensor_name_map(arch, text["num_hidden_layers"])
    write(writer, _decoder(folder, num_heads, num_kv_heads, is_qwen), names, width)


def _decoder(folder: Path, num_heads: int, num_kv_heads: int, is_qwen: bool) -> Iterator[tuple[str, Array]]:
    for name, values in tensors(folder):
        if is_vision(name):
            continue
        if not is_qwen and "q_proj" in name:
            values = _permuted(values, num_heads)
        if not is_qwen and "k_proj" in name:
            values = _permuted(values, num_kv_heads)
        yield name.replace("text_model.", ""), values


def _permuted(values: Array, num_heads: int) -> Array:
    """llama.cpp rotates neighbouring pairs of a Llama's head, the checkpoint its two halves."""
    paired = values.reshape(num_heads, 2, values.shape[0] // num_heads // 2, *values.shape[1:])
    return np.ascontiguousarray(paired.swapaxes(1, 2)).reshape(values.shape)


def _add_tokenizer(writer: Any, folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    special = {each["content"] for each in tokenizer["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    tokens[tokens.index("Ġzaaaa")] = "ĊĊ"  # llama.cpp puts these two line ends before a picture, as one token
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")  # it looks for whole words first, as the checkpoint's tokenizer does
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if each in special else gguf.TokenType.NORMAL for each in tokens])
    writer.add_token_merges([f"{tokens[-1]} {tokens[-1]}"])  # llama.cpp wants one; no text has it
    writer.add_eos_token_id(ids[config["eos_token"]])
    writer.add_pad_token_id(ids[config["pad_token"]])
    writer.add_bos_token_id(ids[config.get("bos_token", config["pad_token"])])
    writer.add_add_bos_token(False)
    writer.add_chat_template(config["chat_template"])


# --- the vision part --------------------------------------------------------------------------------------------------


def write_vision(folder: Path, width: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    images = json.loads((folder / "preprocessor_config.json").read_text())
    vision = config["vision_config"]
    writer = gguf.GGUFWriter(folder / f"mmproj-{width}.gguf", "clip", use_temp_file=False)
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_name(folder.name)
    writer.add_file_type(TYPES[width][1])
    writer.add_clip_has_vision_encoder(True)
    writer.add_vision_projection_dim(config["text_config"]["hidden_size"])
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_image_mean(images["image_mean"])
    writer.add_vision_image_std(images["image_std"])
    if config["model_type"] == "qwen2_vl":
        num_layers, named = _qwen_vision(writer, vision), _split_qwen(folder)
    else:
        num_layers, named = _smol_vision(writer, config, images), _vision(folder)
    write(writer, named, gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, num_layers), width)


def _smol_vision(writer: Any, config: dict[str, Any], images: dict[str, Any]) -> int:
    vision = config["vision_config"]
    writer.add_clip_projector_type(gguf.VisionProjectorType.IDEFICS3)
    writer.add_vision_image_size(vision["image_size"])
    writer.add_vision_embedding_length(vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision["intermediate_size"])
    writer.add_vision_block_count(vision["num_hidden_layers"])
    writer.add_vision_head_count(vision["num_attention_heads"])
    writer.add_vision_attention_layernorm_eps(vision["layer_norm_eps"])
    writer.add_vision_projector_scale_factor(config["scale_factor"])
    writer.add_vision_preproc_image_size(images["size"]["longest_edge"])
    writer.add_vision_use_gelu(True)
    return int(vision["num_hidden_layers"])


def _qwen_vision(writer: Any, vision: dict[str, Any]) -> int:
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN2VL)
    writer.add_vision_image_size(560)
    writer.add_vision_embedding_length(vision["embed_dim"])
    writer.add_vision_feed_forward_length(vision["embed_dim"] * vision["mlp_ratio"])
    writer.add_vision_block_count(vision["depth"])
    writer.add_vision_head_count(vision["num_heads"])
    writer.add_vision_attention_layernorm_eps(1e-6)
    return int(vision["depth"])


def _vision(folder: Path) -> Iterator[tuple[str, Array]]:
    return ((name, values) for name, values in tensors(folder) if is_vision(name))


def _split_qwen(folder: Path) -> Iterator[tuple[str, Array]]:
    """Queries, keys and values apart; the patch convolution as two, one for each of two frames."""
    for name, values in _vision(folder):
        if ".qkv." in name:
            for each, part in zip("qkv", np.split(values, 3), strict=True):
                yield name.replace("qkv", each), part
        elif "patch_embed" in name:
            yield name, values[:, :, 0]
            yield f"{name}.1", values[:, :, 1]
        else:
            yield name, values


if __name__ == "__main__":
    write_decoder(Path(sys.argv[1]), sys.argv[2])
    write_vision(Path(sys.argv[1]), sys.argv[2])
