"""The settings of a GGUF file's decoder, as config.json would have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from foveal.errors import CheckpointError
from foveal.models.bounds import shown
from foveal.models.gguf.reader import GgufFile

Settings = dict[str, Any]
LARGEST_GEMMA3 = 62  # layers; its scores alone are scaled by its width
SLIDING_THETA = 10000.0  # Gemma 3's, in files that do not say it


class Facts:
    """A file's settings under the name of its architecture."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.architecture = text_of(file, "general.architecture")

    def get(self, name: str, default: Any = None) -> Any:
        return self.file.metadata.get(f"{self.architecture}.{name}", default)

    def __getitem__(self, name: str) -> Any:
        found = self.get(name)
        if found is None:
            raise CheckpointError(f"{self.file.path} has no {self.architecture}.{name}; it is incomplete")
        return found

    def one(self, name: str) -> Any:
        """A number that some files give for each layer."""
        found = self[name]
        if isinstance(found, list):
            if len(set(found)) != 1:
                raise CheckpointError(f"{self.file.path}: {name} differs between layers, which is not implemented")
            return found[0]
        return found

    @property
    def usual_head_dim(self) -> int:
        """Of a file that does not say another. Bounds are checked later, but this division comes before."""
        width, heads = self["embedding_length"], self.one("attention.head_count")
        if not (isinstance(width, int) and isinstance(heads, int) and heads > 0):
            raise CheckpointError(f"{self.file.path}: attention.head_count is {shown(heads)}; the file is damaged")
        return width // heads

    def numbers(self, tensor: str) -> list[float] | None:
        """A small tensor of float32; None where there is none."""
        if tensor not in self.file.tensors:
            return None
        if self.file.tensors[tensor].kind.name != "F32":
            raise CheckpointError(f"{self.file.path}: {tensor} is not of float32")
        found: list[float] = self.file.bytes_of(tensor).reshape(-1).view(np.float32).tolist()
        return found


def text_of(file: GgufFile, name: str) -> str:
    found = file.metadata.get(name)
    if not isinstance(found, str):
        raise CheckpointError(f"{file.path} has no {name}; it is incomplete")
    return found


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
        "head_dim": facts.get("attention.key_length") or facts.usual_head_dim,
        "max_position_embeddings": facts["context_length"],
        "rms_norm_eps": facts["attention.layer_norm_rms_epsilon"],
        "rope_theta": facts.get("rope.freq_base", 10000.0),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "sliding_window": None,
        "hidden_act": "silu",
    }
    return {**common, **_scaling(facts), **ARCHITECTURES[facts.architecture](facts)}


def _rows(file: GgufFile, tensor: str) -> int:
    if tensor not in file.tensors:
        raise CheckpointError(f"{file.path} has no {tensor}; it is incomplete")
    return file.tensors[tensor].shape[0]


def _scaling(facts: Facts) -> Settings:
    """Of the rotary positions. Llama 3.1's is written as a divisor for each frequency."""
    factors, kind = facts.numbers("rope_freqs.weight"), facts.get("rope.scaling.type", "none")
    if factors:
        return {"rope_scaling": _divided(factors, factors, 1.0)}
    factor = facts.get("rope.scaling.factor", facts.get("rope.scale_linear"))
    if kind == "none" or (kind == "linear" and factor in (None, 0, 1)):
        return {}
    scaling = {"rope_type": kind, "factor": factor}
    if original := facts.get("rope.scaling.original_context_length"):
        scaling["original_max_position_embeddings"] = original
    return {"rope_scaling": scaling}


def _divided(short: list[float], long: list[float], attention_factor: float) -> Settings:
    return {
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": long,
        "attention_factor": attention_factor,
    }


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
    head_dim = facts.usual_head_dim
    settings: Settings = {
        "model_type": "phi3",
        "sliding_window": facts.get("attention.sliding_window") or None,
        "partial_rotary_factor": facts.get("rope.dimension_count", head_dim) / head_dim,
    }
    short, long = facts.numbers("rope_factors_short.weight"), facts.numbers("rope_factors_long.weight")
    if short and long:
        original = facts["rope.scaling.original_context_length"]
        settings["rope_scaling"] = _divided(short, long, facts.get("rope.scaling.attn_factor", 1.0))
        settings["original_max_position_embeddings"] = original
    return settings


def _qwen_vl(model_type: str, *, interleaved: bool = False) -> Callable[[Facts], Settings]:
    def settings(facts: Facts) -> Settings:
        sections = facts["rope.dimension_sections"][:3]
        scaling = {"rope_type": "default", "mrope_section": sections, "mrope_interleaved": interleaved}
        return {"model_type": model_type, "rope_scaling": scaling}

    return settings


ARCHITECTURES: Mapping[str, Callable[[Facts], Settings]] = {
    "llama": _llama,
    "qwen2": lambda facts: {"model_type": "qwen2"},
    "qwen3": lambda facts: {"model_type": "qwen3"},
    "gemma3": _gemma3,
    "phi3": _phi3,
    "qwen2vl": _qwen_vl("qwen2_vl_text"),
    "qwen3vl": _qwen_vl("qwen3_vl_text", interleaved=True),
}
