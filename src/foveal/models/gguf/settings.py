"""The settings of a GGUF file's decoder, as config.json would have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from foveal.errors import CheckpointError
from foveal.models.gguf.facts import Facts
from foveal.models.gguf.reader import GgufFile
from foveal.models.gguf.rope import rope_settings

Settings = dict[str, Any]
LARGEST_GEMMA3 = 62  # layers; its scores alone are scaled by its width
SLIDING_THETA = 10000.0  # Gemma 3's, in files that do not say it


def decoder_settings(file: GgufFile) -> Settings:
    """Raises CheckpointError for an architecture that cannot be served."""
    facts = Facts(file)
    if facts.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise CheckpointError(f"{file.path} has the architecture {facts.architecture!r}; these can be served: {known}")
    if facts.get("expert_count"):
        raise CheckpointError(f"{file.path} is a mixture of experts, which cannot be served")
    common: Settings = {
        "vocab_size": _rows(file, "token_embd.weight"),
        "hidden_size": facts["embedding_length"],
        "intermediate_size": facts.one("feed_forward_length"),
        "num_hidden_layers": facts["block_count"],
        "num_attention_heads": facts.one("attention.head_count"),
        "num_key_value_heads": facts.one("attention.head_count_kv"),
        "head_dim": facts.head_dim,
        "max_position_embeddings": facts["context_length"],
        "rms_norm_eps": facts["attention.layer_norm_rms_epsilon"],
        "rope_theta": facts.get("rope.freq_base", 10000.0),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "sliding_window": None,
        "hidden_act": "silu",
    }
    return {**common, **rope_settings(facts), **ARCHITECTURES[facts.architecture](facts)}


def _rows(file: GgufFile, tensor: str) -> int:
    if tensor not in file.tensors:
        raise CheckpointError(f"{file.path} has no {tensor}; it is incomplete")
    return file.tensors[tensor].shape[0]


# --- what architectures have of their own -----------------------------------------------------------------------------


def _llama(facts: Facts) -> Settings:
    window = facts.get("attention.sliding_window")
    return {"model_type": "mistral", "sliding_window": window} if window else {"model_type": "llama"}


def _gemma3(facts: Facts) -> Settings:
    is_largest = facts["block_count"] == LARGEST_GEMMA3
    usual = facts.usual_head_dim if is_largest else facts["attention.key_length"]
    scale = facts.get("attention.scale")
    return {
        "model_type": "gemma3_text",
        "hidden_act": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scale**-2 if scale else usual,
        "sliding_window": facts["attention.sliding_window"],
        "sliding_window_pattern": facts.get("attention.sliding_window_pattern", 6),
        "rope_local_base_freq": facts.get("rope.freq_base_swa", SLIDING_THETA),
        "final_logit_softcapping": facts.get("final_logit_softcapping"),
    }


def _phi3(facts: Facts) -> Settings:
    """Its window is Phi-3-mini's alone; files of the others have one as long as the context."""
    return {"model_type": "phi3", "sliding_window": facts.get("attention.sliding_window") or None}


def _of_type(model_type: str) -> Callable[[Facts], Settings]:
    return lambda facts: {"model_type": model_type}


ARCHITECTURES: Mapping[str, Callable[[Facts], Settings]] = {
    "llama": _llama,
    "qwen2": _of_type("qwen2"),
    "qwen3": _of_type("qwen3"),
    "gemma3": _gemma3,
    "phi3": _phi3,
    "qwen2vl": _of_type("qwen2_vl_text"),
    "qwen3vl": _of_type("qwen3_vl_text"),
}
