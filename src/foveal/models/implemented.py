"""What of a checkpoint's settings is implemented. One that would change numbers and is not is refused by name.

A part of a checkpoint is its whole, its decoder, its vision tower or its picture settings. For each there are the types
that can be served, and the settings that must have one value. A setting that nobody here knows is refused if its name
speaks of something that changes numbers and its value is not neutral.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from foveal.errors import CheckpointError
from foveal.models.bounds import RULES, shown
from foveal.models.checkpoint import Settings
from foveal.models.quantisation import check_quantisation

if TYPE_CHECKING:
    from foveal.models.checkpoint import Checkpoint

Only = dict[str, tuple[Any, ...]]  # a setting -> the values that can be served

LLAMAS = ("gemma3_text", "llama", "mistral", "phi3", "qwen2", "qwen3")
DECODERS: dict[str, tuple[str, ...]] = {  # of families that have a part for it
    **dict.fromkeys(("idefics3", "internvl", "llava", "llava_next", "smolvlm"), LLAMAS),
    "gemma3": ("gemma3_text",),
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

EMPTY = Settings()
_UNIT = (None, 1)
_NOT_SLIDING: Only = {"sliding_window": (None,)}
_GELU = ("gelu_pytorch_tanh",)
_HYBRID: Only = _NOT_SLIDING | {
    "hidden_act": ("silu",),
    "attn_output_gate": (True,),
    "mrope_interleaved": (True,),
    "mamba_ssm_dtype": (None, "float32"),
    "norm_topk_prob": (None, True),
    "decoder_sparse_step": (None, 1),
}
OF_DECODERS: Only = {
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping"), (None,)),
    **dict.fromkeys(("attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling"), _UNIT),
    "use_bidirectional_attention": (None, False),
}
OF_DECODER: dict[str, Only] = {
    "llama": _NOT_SLIDING,
    "mllama_text_model": _NOT_SLIDING,
    "qwen3_vl_text": _NOT_SLIDING,
    **dict.fromkeys(("qwen3_5_text", "qwen3_5_moe_text"), _HYBRID),
    "gemma3_text": {"hidden_act": _GELU, "hidden_activation": _GELU},
}
OF_TOWERS: Only = {
    **dict.fromkeys(("num_channels", "in_channels", "in_chans"), (3,)),
    "temporal_patch_size": (2,),
    "use_absolute_position_embeddings": (True,),
    "rope_parameters": (None, {"rope_type": "axial", "rope_theta": 10000.0}),
}
OF_PICTURES: Only = {
    **dict.fromkeys(("do_resize", "do_rescale", "do_normalize"), (None, True)),
    "temporal_patch_size": (2,),
    "rescale_factor": (1 / 255,),
    "do_pan_and_scan": (None, False),
}
_LANCZOS, _BILINEAR, _BICUBIC = ({"resample": (None, kind)} for kind in (1, 2, 3))
OF_PICTURES_OF: dict[str, Only] = {
    "gemma3": _BILINEAR,
    "idefics3": _LANCZOS,
    "internvl": _BICUBIC,
    "llava": _BICUBIC | {"do_pad": (None, False)},
    "llava_next": _BICUBIC,
    "mllama": _BILINEAR | {"do_pad": (None, True)},
    "qwen2_vl": _BICUBIC,
    "qwen2_5_vl": _BICUBIC,
    "qwen3_vl": _BICUBIC,
    "qwen3_5": _BICUBIC,
    "qwen3_5_moe": _BICUBIC,
    "smolvlm": _LANCZOS,
}
OF_WHOLE: dict[str, Only] = {
    "internvl": {"vision_feature_layer": (-1,), "vision_feature_select_strategy": ("default",)},
    "llava": {"vision_feature_select_strategy": ("default", "full")},
    "llava_next": {"vision_feature_select_strategy": ("default",)},
}
PHI3_V: Only = {"use_hd_transform": (True,), "with_learnable_separator": (True,)}

TELLING = re.compile(
    r"multipl|scal|softcap|capping|clip|norm|residual|logit|rope|rotary|alibi|attention|attn|activation|window|expert"
    r"|moe|router|sparse|mixture|resampl|do_|rescale"
)
HARMLESS = re.compile(  # known settings of published files that speak of such things, and change no answer
    r"_.*|.*dropout.*|(use_)?(flash_)?attn(_implementation)?|attention_bias|output_attentions|norm_type|use_qk_norm"
    r"|layer_scale_init_value|do_(convert_rgb|image_splitting|pad|center_crop|sample)|add_cross_attention"
    r"|cross_attention_hidden_size|output_router_logits|router_aux_loss_coef|pan_and_scan_.*|downsample_ratio"
    r"|scale_factor|supported_aspect_ratios|remove_invalid_values|initializer_.*"
)


def check_implemented(checkpoint: Checkpoint) -> None:
    """Raises CheckpointError, in a sentence that names the setting, if the checkpoint needs what is not implemented."""
    check_quantisation(checkpoint)
    config, family, decoder = checkpoint.config, checkpoint.model_type, checkpoint.decoder_config
    of_decoder = OF_DECODERS | OF_DECODER.get(decoder.get("model_type", family), {})
    if family in DECODERS:
        _check_type(decoder, DECODERS[family], "decoders")
    if "text_config" in config:
        _check_part(config, OF_WHOLE.get(family, {}))
    _check_part(decoder, of_decoder)
    for name in ("rope_scaling", "rope_parameters"):
        _check_part(decoder.get(name) or EMPTY, of_decoder)
    if family in TOWERS:
        _check_type(checkpoint.vision_config, TOWERS[family], "vision towers")
        _check_part(checkpoint.vision_config, OF_TOWERS)
    _check_part(config.get("embd_layer", EMPTY), PHI3_V)
    _check_part(checkpoint.preprocessor_config, OF_PICTURES | OF_PICTURES_OF.get(family, {}))
    size = checkpoint.preprocessor_config.get("size", EMPTY)
    if size.get("height") != size.get("width", size.get("height")):
        raise CheckpointError(f"{size.place}: height and width differ; only squares are implemented")


def _check_type(part: Settings, known: tuple[str, ...], what: str) -> None:
    kind = part.get("model_type", known[0])
    if kind not in known:
        raise CheckpointError(
            f"{part.place}: model_type is {shown(kind)}; its family has these {what}: {', '.join(known)}"
        )


def _check_part(part: Settings, only: Only) -> None:
    for name, value in part.items():
        if name in only:
            if not any(_same(value, known) for known in only[name]):
                known = " or ".join(map(repr, only[name]))
                raise CheckpointError(f"{part.place}: {name} is {shown(value)}; only {known} is implemented")
        elif name not in RULES and TELLING.search(name) and not HARMLESS.fullmatch(name) and not _is_neutral(value):
            raise CheckpointError(
                f"{part.place}: {name} is {shown(value)}, which is not implemented; remove it if it changes no answers"
            )


def _same(value: Any, known: Any) -> bool:
    if isinstance(value, bool) or isinstance(known, bool):
        return value is known
    if isinstance(value, int | float) and isinstance(known, int | float):
        return math.isclose(value, known, rel_tol=1e-6)
    return bool(value == known)


def _is_neutral(value: Any) -> bool:
    """Off, nothing, or a factor of one."""
    return not value or (value == 1 and value is not True)
