"""Which types of transformers are served this way: those that were compared with transformers, and no others."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from foveal.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foveal.models.checkpoint import Checkpoint

VERIFIED: tuple[str, ...] = (
    "aya_vision",
    "cohere2_vision",
    "cohere_compass",
    "deepseek_vl",
    "deepseek_vl_hybrid",
    "exaone4_5",
    "hyperclovax_vision_v2",
    "lighton_ocr",
    "llava_next_video",
    "mistral3",
    "ovis2",
    "paddleocr_vl",
    "pp_chart2table",
    "qianfan_ocr",
    "qwen3_vl_moe",
    "video_llama_3",
    "video_llava",
    "vipllava",
)
TWO_WAY: tuple[str, ...] = ()  # of them, those whose images' tokens attend to each other
STATE = "layers of its decoder keep a state of their own, not keys and values"
CROSS = "its decoder reads pictures through cross-attention"
ENCODER = "it is an encoder and a decoder, and the engine runs decoders"
CHOOSING = "its layers choose what they attend to, which the engine's attention cannot"
SEVERAL = "its processor writes a picture in another way where a prompt has several"
REFUSED: dict[str, str] = {  # why, to be read after the type
    **dict.fromkeys(
        (
            "inkling2",
            "inkling_mm_model",
            "lfm2_vl",
            "lfm3_vl",
            "minicpm_ocr",
            "minicpmv4_6",
            "minicpmv4_7",
            "nemotron_h_omni",
        ),
        STATE,
    ),
    **dict.fromkeys(("evolla", "idefics"), CROSS),
    **dict.fromkeys(
        ("blip", "florence2", "git", "pix2struct", "pp_formulanet", "t5gemma2", "udop", "vision-encoder-decoder"),
        ENCODER,
    ),
    **dict.fromkeys(
        ("dots3_note", "llama4", "minimax_m3_vl", "mistral_large4", "qwen4_exp", "unlimited_ocr"), CHOOSING
    ),
    "chameleon": "its pictures join the text inside its decoder",
    **dict.fromkeys(("idefics2", "llava_onevision"), SEVERAL),
    "ernie4_5_vl_moe": "its experts are chosen by what a token stands for, which its layers are not told",
    "granite4_vision": "pictures are added to layers of its decoder that lie apart",
    "paligemma": "the tokens before an answer attend to one another",
    "shieldgemma2": "it classifies, and writes nothing",
    "diffusion_gemma": "it does not write token by token",
    "pi0": "it does not write token by token",
}


def check_type(checkpoint: Checkpoint, own: Iterable[str]) -> None:
    """Raises CheckpointError, with a sentence, for a checkpoint that this family cannot serve.

    own: the types that have families of their own.
    """
    kind, folder = checkpoint.model_type, checkpoint.folder
    if kind in REFUSED:
        raise CheckpointError(f"{folder} has model_type {kind!r}, which cannot be served: {REFUSED[kind]}")
    if kind not in VERIFIED:
        known = ", ".join(sorted({*own, *VERIFIED}))
        own_code = "; code in a checkpoint is never run" if "auto_map" in checkpoint.config else ""
        raise CheckpointError(f"{folder} has model_type {kind!r}{own_code}; supported: {known}")
    if checkpoint.quantisation:
        raise CheckpointError(f"{folder} holds quantised weights, which are not read for model_type {kind!r}")
    if find_spec("transformers") is None:
        raise CheckpointError(
            f"{folder} has model_type {kind!r}, which is served by modules of transformers: "
            "pip install 'foveal[transformers]'"
        )
