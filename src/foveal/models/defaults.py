"""Defaults of settings that published config.json files omit, for decoders and vision towers, by model_type.

Many files hold only what differs from the defaults of transformers' configuration classes. Those defaults are repeated
here, as far as published checkpoints need them.
"""

from __future__ import annotations

from typing import Any

_LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
}
_QWEN = {"use_sliding_window": False, "max_window_layers": 28, "rms_norm_eps": 1e-6}
_QWEN_VL = _QWEN | {"rms_norm_eps": 1e-5, "rope_theta": 1000000.0}
_QWEN3_5 = {
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "partial_rotary_factor": 0.25,
    "full_attention_interval": 4,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
}
_GEMMA4 = {
    "vocab_size": 262144,
    "hidden_size": 2304,
    "num_hidden_layers": 30,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "global_head_dim": 512,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "sliding_window": 512,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}

DECODER_TYPES = {  # of families whose text_config may leave out its model_type
    **dict.fromkeys(("idefics3", "llava", "llava_next", "smolvlm"), "llama"),
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "gemma4_unified": "gemma4_unified_text",
    "internvl": "qwen2",
    "mllama": "mllama_text_model",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
}

DECODER_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA
    | {"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096, "intermediate_size": 14336},
    "granite": _LLAMA,
    "phi3": {"rms_norm_eps": 1e-5},
    "qwen2": _QWEN,
    "qwen2_vl": _QWEN_VL,
    "qwen2_vl_text": _QWEN_VL,
    "qwen2_5_vl": _QWEN_VL,
    "qwen2_5_vl_text": _QWEN_VL,
    "qwen3": _QWEN | {"head_dim": 128},
    "qwen3_vl_text": {"head_dim": 128, "rope_theta": 500000.0},
    "qwen3_5_text": _QWEN3_5,
    "qwen3_5_moe_text": _QWEN3_5 | {"num_key_value_heads": 2, "num_experts_per_tok": 8},
    "mllama_text_model": {"rope_theta": 500000.0},
    "gemma4_text": _GEMMA4 | {"hidden_size_per_layer_input": 256},
    "gemma4_unified_text": _GEMMA4
    | {"max_position_embeddings": 262144, "sliding_window": 1024, "use_bidirectional_attention": "vision"},
    "gemma3_text": {
        "vocab_size": 262208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "tie_word_embeddings": True,
        "hidden_act": "gelu_pytorch_tanh",
    },
}

_SIGLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
_IDEFICS3 = _SIGLIP | {"hidden_size": 1152, "num_attention_heads": 16, "patch_size": 32}
_QWEN2_TOWER = {"hidden_act": "quick_gelu"}
_QWEN2_5_TOWER = {"hidden_act": "silu", "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]}
_QWEN3_TOWER = {"hidden_act": "gelu_pytorch_tanh", "deepstack_visual_indexes": [8, 16, 24]}
_GEMMA4_SQUARES = {"patch_size": 16, "pooling_kernel_size": 3, "rms_norm_eps": 1e-6}
_GEMMA4_TOWER = _GEMMA4_SQUARES | {
    "num_hidden_layers": 16,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "head_dim": 64,
    "hidden_activation": "gelu_pytorch_tanh",
}
_QWEN3_5_TOWER = {
    "depth": 27,
    "num_heads": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "patch_size": 16,
    "spatial_merge_size": 2,
}

VISION_DEFAULTS: dict[str, dict[str, Any]] = {
    "siglip_vision_model": _SIGLIP,
    **dict.fromkeys(("gemma4", "gemma4_vision"), _GEMMA4_TOWER),
    **dict.fromkeys(("gemma4_unified", "gemma4_unified_vision"), _GEMMA4_SQUARES),
    "qwen2_vl": _QWEN2_TOWER,
    "qwen2_vl_vision": _QWEN2_TOWER,
    "qwen2_5_vl": _QWEN2_5_TOWER,
    "qwen2_5_vl_vision": _QWEN2_5_TOWER,
    "qwen3_vl": _QWEN3_TOWER,
    "qwen3_vl_vision": _QWEN3_TOWER,
    **dict.fromkeys(("qwen3_5", "qwen3_5_vision", "qwen3_5_moe", "qwen3_5_moe_vision"), _QWEN3_5_TOWER),
    "internvl_vision": {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "image_size": 448, "patch_size": 14},
    "idefics3": _IDEFICS3,
    "idefics3_vision": _IDEFICS3,
    "smolvlm": _IDEFICS3,
    "smolvlm_vision": _IDEFICS3,
}
