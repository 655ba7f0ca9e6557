"""Decoders without images, as tiny random checkpoints made by the reference library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transformers

from tests.parity.references import TEXT, Reference, reference

if TYPE_CHECKING:
    from pathlib import Path

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONG_ROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.5, 3.0, 4.5, 6.0],
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
DELTA = {  # gated delta networks in all layers but every second
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
EXPERTS = {
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 12,
    "shared_expert_intermediate_size": 20,
}
GRANITE = {
    "embedding_multiplier": 6.0,
    "attention_multiplier": 0.3,
    "residual_multiplier": 0.4,
    "logits_scaling": 2.0,
    "tie_word_embeddings": True,
}
GEMMA4 = {
    "num_hidden_layers": 6,
    "head_dim": 16,
    "global_head_dim": 24,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"] * 3,
    "hidden_size_per_layer_input": 0,
    "rope_parameters": {
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 100.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    },
}
OWN_INPUTS = {"hidden_size_per_layer_input": 12, "vocab_size_per_layer_input": 300}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"rope_parameters": {"rope_theta": 5e4, **LLAMA3_ROPE}, "head_dim": 16}),
    "llama with linear rope": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0}}),
    "llama with yarn": ("Llama", {"rope_parameters": {"rope_theta": 1e4, **YARN}, "head_dim": 32}),
    "llama with DeepSeek's yarn": (
        "Llama",
        {
            "rope_parameters": {"rope_theta": 50.0, **YARN, "mscale": 1.3, "mscale_all_dim": 0.6, "beta_fast": 12},
            "head_dim": 32,
        },
    ),
    "llama with biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "granite": ("Granite", GRANITE),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral with a window": ("Mistral", {"sliding_window": 7}),
    "qwen2": ("Qwen2", {}),
    "qwen2 with a window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 2}),
    "qwen3 with yarn": ("Qwen3", {"rope_parameters": {"rope_theta": 1e4, **YARN, "attention_factor": 1.4}}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "phi3": ("Phi3", {"original_max_position_embeddings": 2048}),
    "phi3 long": ("Phi3", {"rope_parameters": LONG_ROPE, "original_max_position_embeddings": 256}),
    "phi4 mini": ("Phi3", {"rope_parameters": {"partial_rotary_factor": 0.5}, "tie_word_embeddings": True}),
    "qwen3_5_text": ("Qwen3_5Text", {"head_dim": 32, **DELTA}),
    "qwen3_5_moe_text": ("Qwen3_5MoeText", {"head_dim": 32, **DELTA, **EXPERTS}),
    "gemma3_text": ("Gemma3Text", {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 24}),
    "gemma3_text with yarn": (
        "Gemma3Text",
        {
            "head_dim": 16,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_theta": 1e6, **YARN},
                "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
            },
        },
    ),
    "gemma3_text with capped logits": (
        "Gemma3Text",
        {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 24, "final_logit_softcapping": 5.0},
    ),
    "gemma3_text, two kinds": (
        "Gemma3Text",
        {"head_dim": 16, "sliding_window": 8, "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    ),
    "gemma4_text": ("Gemma4Text", GEMMA4),
    "gemma4_text with inputs of layers": ("Gemma4Text", {**GEMMA4, **OWN_INPUTS}),
    "gemma4_text with shared keys": (
        "Gemma4Text",
        {
            **GEMMA4,
            **OWN_INPUTS,
            "num_kv_shared_layers": 3,
            "use_double_wide_mlp": True,
            "final_logit_softcapping": 1.5,
        },
    ),
    "gemma4_text whose values are keys": (
        "Gemma4Text",
        {**GEMMA4, "attention_k_eq_v": True, "num_global_key_value_heads": 1, "attention_bias": True},
    ),
    "gemma4_text with experts": (
        "Gemma4Text",
        {**GEMMA4, "enable_moe_block": True, "num_experts": 6, "top_k_experts": 3, "moe_intermediate_size": 12},
    ),
}


def text_checkpoint(kind: str, folder: Path, seed: int = 0, **other: Any) -> Reference:
    """A checkpoint of one of KINDS, or with other settings."""
    name, settings = KINDS[kind]
    config = getattr(transformers, f"{name}Config")(**{**TEXT, **settings, **other})
    model_class = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")
    return reference(folder, model_class, config, seed)
