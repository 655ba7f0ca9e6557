"""What of a checkpoint's settings is implemented. One that would change numbers and is not is refused by name.

A part of a checkpoint is its whole, its decoder, its vision tower or its picture settings. For each there are the types
that can be served, and an allow-list: settings that are read, settings that change no answer, and settings that have
one implemented value. reference.json tells which settings the reference library reads for a part's type, and their
defaults. What it reads and the list lacks must have its default. What it does not read changes nothing.
"""

from __future__ import annotations

import functools
import json
import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from foveal.errors import CheckpointError
from foveal.models.bounds import shown
from foveal.models.checkpoint import Settings
from foveal.models.quantisation import check_quantisation
from foveal.models.settings import NEUTRAL, READ

if TYPE_CHECKING:
    from foveal.models.checkpoint import Checkpoint

Only = dict[str, tuple[Any, ...]]  # a setting -> the values that can be served

LLAMAS = ("gemma3_text", "llama", "mistral", "phi3", "qwen2", "qwen3")
DECODERS: dict[str, tuple[str, ...]] = {  # of families that have a part for it
    **dict.fromkeys(("idefics3", "internvl", "smolvlm"), LLAMAS),
    **dict.fromkeys(("llava", "llava_next"), (*LLAMAS, "granite")),
    "gemma3": ("gemma3_text",),
    "gemma4": ("gemma4_text",),
    "gemma4_unified": ("gemma4_unified_text",),
    "mllama": ("mllama_text_model",),
    "qwen2_vl": ("qwen2_vl_text", "qwen2_vl"),
    "qwen2_5_vl": ("qwen2_5_vl_text", "qwen2_5_vl"),
    "qwen3_vl": ("qwen3_vl_text",),
    "qwen3_5": ("qwen3_5_text",),
    "qwen3_5_moe": ("qwen3_5_moe_text",),
}
TOWERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("llava", "llava_next"), ("clip_vision_model", "siglip_vision_model")),
    "gemma3": ("siglip_vision_model",),
    "gemma4": ("gemma4_vision",),
    "gemma4_unified": ("gemma4_unified_vision",),
    "idefics3": ("idefics3_vision", "idefics3"),
    "internvl": ("internvl_vision",),
    "mllama": ("mllama_vision_model",),
    "qwen2_vl": ("qwen2_vl_vision", "qwen2_vl"),
    "qwen2_5_vl": ("qwen2_5_vl_vision", "qwen2_5_vl"),
    "qwen3_vl": ("qwen3_vl_vision", "qwen3_vl"),
    "qwen3_5": ("qwen3_5_vision", "qwen3_5"),
    "qwen3_5_moe": ("qwen3_5_moe_vision", "qwen3_5_moe"),
    "smolvlm": ("smolvlm_vision", "smolvlm"),
}

PROCESSORS: dict[str, tuple[str, ...]] = {  # the first is that of files that name none
    "gemma3": ("Gemma3ImageProcessor",),
    **dict.fromkeys(("gemma4", "gemma4_unified"), ("Gemma4ImageProcessor",)),
    "idefics3": ("Idefics3ImageProcessor", "SmolVLMImageProcessor"),
    "internvl": ("GotOcr2ImageProcessor",),
    "llava": ("LlavaImageProcessor", "CLIPImageProcessor", "SiglipImageProcessor"),
    "llava_next": ("LlavaNextImageProcessor",),
    "mllama": ("MllamaImageProcessor",),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_5_moe"), ("Qwen2VLImageProcessor",)),
    "smolvlm": ("SmolVLMImageProcessor", "Idefics3ImageProcessor"),
}
SAME_AS = {  # types of older files -> what the reference library calls them; phi3_v it does not know
    "decoder": {"phi3_v": "phi3", "qwen2_vl": "qwen2_vl_text", "qwen2_5_vl": "qwen2_5_vl_text"},
    "tower": {name: f"{name}_vision" for name in TOWERS},
}

EMPTY = Settings()
NOTHING: Only = {}
_UNIT = (None, 1)
OF_OTHERS: Only = {  # what the reference reads for other decoders; a file of these types that has it means it, too
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping", "clip_qkv"), (None,)),
    **dict.fromkeys(("attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling"), _UNIT),
    **dict.fromkeys(("use_bidirectional_attention", "qk_layernorm"), (None, False)),
    "num_local_experts": (None, 0, 1),
}
_PHI3_ROPES = (None, "default", "longrope", "su")  # those of the reference's code for it
_GEMMA4: Only = {"use_bidirectional_attention": (None, "vision")}
_LLAVA: Only = {"vision_feature_select_strategy": ("default", "full")}
_NOT_SLIDING: Only = {"sliding_window": (None,)}
OF_TYPE: dict[str, Only] = {
    **dict.fromkeys(("granite", "llama", "mllama_text_model"), _NOT_SLIDING),
    **dict.fromkeys(
        ("qwen3_5_text", "qwen3_5_moe_text"),
        _NOT_SLIDING
        | {
            "attn_output_gate": (True,),
            "mrope_interleaved": (True,),
            "mamba_ssm_dtype": (None, "float32"),
            "norm_topk_prob": (None, True),
            "decoder_sparse_step": _UNIT,
        },
    ),
    "qwen3_vl_text": _NOT_SLIDING | {"mrope_interleaved": (True,)},
    "phi3": dict.fromkeys(("rope_type", "type"), _PHI3_ROPES),
    "gemma3_text": {"hidden_act": ("gelu_pytorch_tanh",)},
    **dict.fromkeys(("gemma4_text", "gemma4_unified_text"), _GEMMA4),
    "llava": _LLAVA,
    "llava_next": _LLAVA,
    "phi3_v": {"use_hd_transform": (True,), "with_learnable_separator": (True,)},
}
OF_TOWERS: Only = {"in_chans": (3,)}


@functools.cache
def reference() -> dict[str, dict[str, Any]]:
    """Type -> the settings that the reference library reads, with their defaults."""
    found: dict[str, dict[str, Any]] = json.loads((files("foveal.models") / "reference.json").read_text())
    return found


def check_implemented(checkpoint: Checkpoint) -> None:
    """Raises CheckpointError, in a sentence that names the setting, if the checkpoint needs what is not implemented."""
    check_quantisation(checkpoint)
    config, family, decoder = checkpoint.config, checkpoint.model_type, checkpoint.decoder_config
    if family in DECODERS:
        _check_type(decoder, DECODERS[family], "decoders")
    if "text_config" in config:
        _check_part(config, family)
    kind = decoder.get("model_type", family)
    kind = SAME_AS["decoder"].get(kind, kind)
    for part in (decoder, *(decoder.get(name) or EMPTY for name in ("rope_scaling", "rope_parameters"))):
        _check_part(part, kind, OF_OTHERS)
    if family in TOWERS and config.get("vision_config", EMPTY) is not None:
        tower = checkpoint.vision_config
        _check_type(tower, TOWERS[family], "vision towers")
        kind = tower.get("model_type", TOWERS[family][0])
        _check_part(tower, SAME_AS["tower"].get(kind, kind), OF_TOWERS)
    _check_part(config.get("embd_layer", EMPTY), "phi3_v")
    _check_pictures(checkpoint.preprocessor_config, PROCESSORS.get(family, ("",)))


def _check_pictures(settings: Settings, known: tuple[str, ...]) -> None:
    kind = str(settings.get("image_processor_type") or known[0]).removesuffix("Fast").removesuffix("Pil")
    if kind in reference() and kind not in known:
        raise CheckpointError(
            f"{settings.place}: image_processor_type is {shown(kind)}; only {' or '.join(known)} is implemented"
        )
    _check_part(settings, kind if kind in known else known[0])
    size = settings.get("size", EMPTY)
    if size.get("height") != size.get("width", size.get("height")):
        raise CheckpointError(f"{size.place}: height and width differ; only squares are implemented")


def _check_type(part: Settings, known: tuple[str, ...], what: str) -> None:
    kind = part.get("model_type", known[0])
    if kind not in known:
        raise CheckpointError(
            f"{part.place}: model_type is {shown(kind)}; its family has these {what}: {', '.join(known)}"
        )


def _check_part(part: Settings, kind: str, also: Only = NOTHING) -> None:
    read = READ.get(kind, frozenset())
    only = _defaults(kind) | {name: only for name, only in also.items() if name not in read} | OF_TYPE.get(kind, {})
    for name, value in part.items():
        if name in only and not any(_same(value, known) for known in only[name]):
            known = " or ".join(map(str, map(shown, only[name])))
            raise CheckpointError(f"{part.place}: {name} is {shown(value)}; only {known} is implemented")


def _defaults(kind: str) -> Only:
    """The settings that must have their defaults. A switch that has none is off."""
    free = READ.get(kind, frozenset()) | NEUTRAL
    return {
        name: (None, False) if default is None else (default,)
        for name, default in reference().get(kind, {}).items()
        if name not in free
    }


def _same(value: Any, known: Any) -> bool:
    if isinstance(value, bool) or isinstance(known, bool):
        return value is known
    if isinstance(value, int | float) and isinstance(known, int | float):
        return math.isclose(value, known, rel_tol=1e-6)
    return bool(value == known)
