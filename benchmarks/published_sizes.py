"""The settings of published checkpoints: config.json, preprocessor_config.json and special tokens.

benchmarks/real_shapes.py makes checkpoints of random weights from them. Settings that equal the defaults of
transformers' configuration classes are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SIGLIP = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@dataclass(frozen=True)
class Published:
    """A checkpoint's settings. `note` says what was left out to save memory, if anything."""

    config: dict[str, Any]
    images: dict[str, Any]  # preprocessor_config.json
    special_tokens: dict[str, int]
    dtype: str = "bfloat16"
    note: str = ""


SMOL_TOKENS = {
    "<|im_start|>": 1,
    "<fake_token_around_image>": 49189,
    "<image>": 49190,
    "<end_of_utterance>": 49279,
    "<global-img>": 49152,
    **{
        f"<row_{row}_col_{column}>": 49153 + 6 * (row - 1) + column - 1 for row in range(1, 7) for column in range(1, 7)
    },
}
QWEN_TOKENS = {
    "<|endoftext|>": 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<|vision_start|>": 151652,
    "<|vision_end|>": 151653,
    "<|image_pad|>": 151655,
    "<|video_pad|>": 151656,
}
QWEN3_5_TOKENS = {
    "<|endoftext|>": 248044,
    "<|im_start|>": 248045,
    "<|im_end|>": 248046,
    "<|vision_start|>": 248053,
    "<|vision_end|>": 248054,
    "<|image_pad|>": 248056,
    "<|video_pad|>": 248057,
}
QWEN_IDS = {"vision_start_token_id": 151652, "vision_end_token_id": 151653, "image_token_id": 151655}
QWEN_SIZE = {"shortest_edge": 3136, "longest_edge": 12845056}
SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
CLIP_L = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}


def smolvlm(
    model_type: str, text: dict[str, Any], vision: dict[str, Any], tile: int, side: int, scale_factor: int
) -> Published:
    return Published(
        config={
            "model_type": model_type,
            "text_config": {"model_type": "llama", "vocab_size": 49280, "max_position_embeddings": 8192, **text},
            "vision_config": {"image_size": tile, **vision},
            "image_token_id": 49190,
            "scale_factor": scale_factor,
            "tie_word_embeddings": False,
        },
        images={"size": {"longest_edge": side}, "max_image_size": {"longest_edge": tile}, **SIGLIP},
        special_tokens=SMOL_TOKENS,
    )


def llava_1_5(num_layers: int, dtype: str, note: str) -> Published:
    return Published(
        config={
            "model_type": "llava",
            "text_config": {
                "model_type": "llama",
                "vocab_size": 32064,
                "max_position_embeddings": 4096,
                "rms_norm_eps": 1e-5,
                "num_hidden_layers": num_layers,
            },
            "vision_config": CLIP_L,
            "image_token_index": 32000,
            "tie_word_embeddings": False,
        },
        images={"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}, **CLIP},
        special_tokens={"<s>": 1, "</s>": 2, "<image>": 32000},
        dtype=dtype,
        note=note,
    )


def mllama(num_layers: int, note: str) -> Published:
    return Published(
        config={
            "model_type": "mllama",
            "text_config": {
                "num_hidden_layers": num_layers,
                "cross_attention_layers": [layer for layer in range(3, 40, 5) if layer < num_layers],
                "max_position_embeddings": 131072,
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 500000.0,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                },
            },
            "vision_config": {"image_size": 560, "supported_aspect_ratios": [
                [1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]
            ]},
            "image_token_index": 128256,
        },
        images={"size": {"height": 560, "width": 560}, "max_image_tiles": 4, **CLIP},
        special_tokens={
            "<|begin_of_text|>": 128000,
            "<|end_of_text|>": 128001,
            "<|start_header_id|>": 128006,
            "<|end_header_id|>": 128007,
            "<|eot_id|>": 128009,
            "<|image|>": 128256,
        },
        note=note,
    )  # fmt: skip


PUBLISHED = {
    "SmolVLM-256M-Instruct": smolvlm(
        "idefics3",
        {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
        },
        {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "patch_size": 16,
        },
        tile=512,
        side=2048,
        scale_factor=4,
    ),
    "SmolVLM2-500M-Video-Instruct": smolvlm(
        "smolvlm",
        {
            "hidden_size": 960,
            "intermediate_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 15,
            "num_key_value_heads": 5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
        },
        {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "patch_size": 16,
        },
        tile=512,
        side=2048,
        scale_factor=4,
    ),
    "SmolVLM2-2.2B-Instruct": smolvlm(
        "smolvlm",
        {
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "rope_parameters": {"rope_type": "default", "rope_theta": 130000.0},
        },
        {**SO400M, "patch_size": 14},
        tile=384,
        side=1536,
        scale_factor=3,
    ),
    "InternVL3-1B-hf": Published(
        config={
            "model_type": "internvl",
            "text_config": {
                "model_type": "qwen2",
                "vocab_size": 151674,
                "hidden_size": 896,
                "intermediate_size": 4864,
                "num_hidden_layers": 24,
                "num_attention_heads": 14,
                "num_key_value_heads": 2,
                "max_position_embeddings": 32768,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
            },
            "vision_config": {"image_size": [448, 448], "patch_size": [14, 14], "attention_bias": True},
            "image_token_id": 151667,
            "tie_word_embeddings": False,
        },
        images={
            "size": {"height": 448, "width": 448},
            "crop_to_patches": True,
            "min_patches": 1,
            "max_patches": 12,
            **IMAGENET,
        },
        special_tokens={**QWEN_TOKENS, "<img>": 151665, "</img>": 151666, "<IMG_CONTEXT>": 151667},
    ),
    "Qwen2-VL-2B-Instruct": Published(
        config={
            "model_type": "qwen2_vl",
            "text_config": {
                "vocab_size": 151936,
                "hidden_size": 1536,
                "intermediate_size": 8960,
                "num_hidden_layers": 28,
                "num_attention_heads": 12,
                "num_key_value_heads": 2,
                "max_position_embeddings": 32768,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            },
            "vision_config": {"depth": 32, "embed_dim": 1280, "hidden_size": 1536},
            "tie_word_embeddings": True,
            **QWEN_IDS,
        },
        images={"size": QWEN_SIZE, "patch_size": 14, "merge_size": 2, **CLIP},
        special_tokens=QWEN_TOKENS,
    ),
    "Qwen2.5-VL-3B-Instruct": Published(
        config={
            "model_type": "qwen2_5_vl",
            "text_config": {
                "vocab_size": 151936,
                "hidden_size": 2048,
                "intermediate_size": 11008,
                "num_hidden_layers": 36,
                "num_attention_heads": 16,
                "num_key_value_heads": 2,
                "max_position_embeddings": 128000,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            },
            "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 2048},
            "tie_word_embeddings": True,
            **QWEN_IDS,
        },
        images={"size": QWEN_SIZE, "patch_size": 14, "merge_size": 2, **CLIP},
        special_tokens=QWEN_TOKENS,
    ),
    "Qwen3-VL-2B-Instruct": Published(
        config={
            "model_type": "qwen3_vl",
            "text_config": {
                "vocab_size": 151936,
                "hidden_size": 2048,
                "intermediate_size": 6144,
                "num_hidden_layers": 28,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "max_position_embeddings": 262144,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 5e6,
                    "mrope_section": [24, 20, 20],
                    "mrope_interleaved": True,
                },
            },
            "vision_config": {
                "depth": 24,
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "out_hidden_size": 2048,
                "deepstack_visual_indexes": [5, 11, 17],
            },
            "tie_word_embeddings": True,
            **QWEN_IDS,
        },
        images={
            "size": {"shortest_edge": 65536, "longest_edge": 16777216},
            "patch_size": 16,
            "merge_size": 2,
            **SIGLIP,
        },
        special_tokens=QWEN_TOKENS,
    ),
    "Qwen3.5-0.8B": Published(
        config={
            "model_type": "qwen3_5",
            "text_config": {
                "vocab_size": 248320,
                "hidden_size": 1024,
                "intermediate_size": 3584,
                "num_hidden_layers": 24,
                "num_attention_heads": 8,
                "num_key_value_heads": 2,
                "head_dim": 256,
                "linear_num_key_heads": 16,
                "linear_num_value_heads": 16,
                "linear_key_head_dim": 128,
                "linear_value_head_dim": 128,
                "max_position_embeddings": 262144,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 1e7,
                    "partial_rotary_factor": 0.25,
                    "mrope_section": [11, 11, 10],
                    "mrope_interleaved": True,
                },
                "tie_word_embeddings": True,
            },
            "vision_config": {
                "depth": 12,
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_heads": 12,
                "out_hidden_size": 1024,
            },
            "tie_word_embeddings": True,
        },
        images={
            "size": {"shortest_edge": 65536, "longest_edge": 16777216},
            "patch_size": 16,
            "merge_size": 2,
            **SIGLIP,
        },
        special_tokens=QWEN3_5_TOKENS,
    ),
    "Phi-3-vision-128k-instruct": Published(
        config={
            "model_type": "phi3_v",
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 32064,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "rope_scaling": {"type": "su", "short_factor": [1.05] * 48, "long_factor": [1.0 + i for i in range(48)]},
            "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096,
            "img_processor": {"name": "clip_vision_model", "image_dim_out": 1024, "vision_config": CLIP_L},
        },
        images={"num_crops": 16, **CLIP},
        special_tokens={
            "<s>": 1,
            "</s>": 2,
            "<|endoftext|>": 32000,
            "<|assistant|>": 32001,
            "<|system|>": 32006,
            "<|end|>": 32007,
            "<|user|>": 32010,
            "<|image|>": 32044,
        },
    ),
    "gemma-3-4b-it": Published(
        config={
            "model_type": "gemma3",
            "text_config": {
                "vocab_size": 262208,
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "num_hidden_layers": 34,
                "num_attention_heads": 8,
                "num_key_value_heads": 4,
                "head_dim": 256,
                "max_position_embeddings": 131072,
                "sliding_window": 1024,
            },
            "vision_config": {**SO400M, "image_size": 896, "patch_size": 14, "vision_use_head": False},
            "mm_tokens_per_image": 256,
        },
        images={"size": {"height": 896, "width": 896}, **SIGLIP},
        special_tokens={
            "<eos>": 1,
            "<bos>": 2,
            "<start_of_turn>": 105,
            "<end_of_turn>": 106,
            "<start_of_image>": 255999,
            "<end_of_image>": 256000,
            "<image_soft_token>": 262144,
        },
    ),
    "llava-interleave-qwen-0.5b-hf": Published(
        config={
            "model_type": "llava",
            "text_config": {
                "model_type": "qwen2",
                "vocab_size": 152000,
                "hidden_size": 1024,
                "intermediate_size": 2816,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "num_key_value_heads": 16,
                "max_position_embeddings": 32768,
            },
            "vision_config": {
                **SO400M,
                "model_type": "siglip_vision_model",
                "image_size": 384,
                "patch_size": 14,
                "vision_use_head": False,
            },
            "image_token_index": 151646,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "tie_word_embeddings": False,
        },
        images={"size": {"height": 384, "width": 384}, **SIGLIP},
        special_tokens={"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<image>": 151646},
        dtype="float16",
        note="float16 as published",
    ),
    "llava-1.5-7b-hf, 16 layers": llava_1_5(16, "float16", "16 of 32 decoder layers, float16 as published"),
    "llava-1.5-7b-hf, bfloat16": llava_1_5(32, "bfloat16", "all layers; published in float16"),
    "Llama-3.2-11B-Vision-Instruct, 20 layers": mllama(20, "20 of 40 decoder layers, 4 of 8 cross layers; whole tower"),
}
