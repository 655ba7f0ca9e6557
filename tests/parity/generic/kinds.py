"""Small random checkpoints of the types of transformers, each made by its own config class, model and processor.

Settings that give a size are made small by their names. What a type needs beside that is said in `KINDS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from tests.parity.references import fill, save_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {
    **dict.fromkeys(("hidden_size", "embed_dim", "d_model", "n_embd", "out_hidden_size", "projection_dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "moe_intermediate_size", "encoder_ffn_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "depth", "num_layers", "n_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "attention_heads"), 4),
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 320,
    "image_size": 32,
    "patch_size": 8,
    "max_position_embeddings": 2048,
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k"), 2),
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TEMPLATE = """\
{% for message in messages %}{{ message.role }}: {% for part in message.content %}\
{{ "MARK" if part.type == "image" else part.text }}{% endfor %}
{% endfor %}assistant:"""


@dataclass(frozen=True)
class Kind:
    """What a type's checkpoint has beside small sizes. token_ids: settings of the config that are a token's id."""

    tokens: tuple[str, ...] = ()
    token_ids: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)  # of the tokenizer
    config: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    vision: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)
    mark: str = ""  # what a template writes for an image; "": the first of the tokens
    processors: tuple[str, str] = ("", "")  # classes of the processor and of its part for images; "": as mapped


def make(model_type: str, folder: Path, seed: int = 0) -> None:
    """Write the checkpoint."""
    kind = KINDS[model_type]
    tokenizer = save_tokenizer(folder, kind.tokens, extra_special_tokens=dict(kind.named))
    known = transformers.AutoConfig.for_model(model_type).to_dict()
    ids = {
        name if name in known else name.replace("_id", "_index"): tokenizer.convert_tokens_to_ids(token)
        for name, token in kind.token_ids.items()
    }
    config = small_config(model_type, kind, ids)
    torch.manual_seed(seed)  # for buffers
    model = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)](config).eval()
    fill(model, seed)
    model.save_pretrained(folder)
    save_processor(folder, kind, config, tokenizer)


def small_config(model_type: str, kind: Kind, ids: Mapping[str, int]) -> Any:
    config = transformers.AutoConfig.for_model(model_type)
    settings = _small(config.to_dict())
    settings |= {**kind.config, **ids}
    for part, own in (("text_config", kind.text), ("vision_config", kind.vision)):
        if own:
            settings[part] = {**(settings.get(part) or {}), **own}
    return type(config)(**settings)


def _small(settings: dict[str, Any]) -> dict[str, Any]:
    """Without the lists that have an entry for each of very many layers."""
    num_layers = settings.get("num_hidden_layers")
    lists = [name for name, value in settings.items() if isinstance(value, list) and len(value) == num_layers]
    return {name: _small_value(name, value) for name, value in settings.items() if name not in lists}


def _small_value(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return _small(value)
    if name in SMALL and value is not None and not isinstance(value, list):
        return SMALL[name]
    return value


def save_processor(folder: Path, kind: Kind, config: Any, tokenizer: Any) -> None:
    """As files alone: making one needs the libraries of its part for video, too."""
    whole, of_images = kind.processors
    mapped = {} if of_images else IMAGE_PROCESSOR_MAPPING[type(config)]
    images_class = getattr(transformers, of_images) if of_images else mapped.get("pil") or mapped["torchvision"]
    images_class(**kind.images).save_pretrained(folder)
    processor_class = whole or PROCESSOR_MAPPING[type(config)].__name__
    settings = {"processor_class": processor_class, **kind.processor}
    (folder / "processor_config.json").write_text(json.dumps(settings), "utf-8")
    mark = kind.named.get("boi_token", kind.mark or kind.tokens[0])
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("MARK", mark), "utf-8")


def joined(*kinds: Kind) -> Kind:
    """The settings of all of them; of two that say the same, the later's."""
    settings: dict[str, Any] = {}
    for kind in kinds:
        for name in (each.name for each in fields(kind)):
            value = getattr(kind, name)
            if isinstance(value, Mapping):
                settings[name] = {**settings.get(name, {}), **value}
            elif name == "tokens":
                settings[name] = (*settings.get(name, ()), *value)
            elif any(value):
                settings[name] = value
    return Kind(**settings)


def image(token: str, *others: str, **named: str) -> Kind:
    """token: what stands for an image. named: what the tokenizer calls its tokens."""
    return Kind(
        tokens=(token, *others, *(name for name in named.values() if name not in (token, *others))),
        token_ids={"image_token_id": token},
        named=named,
    )


QWEN = Kind(
    mark="<|image_pad|>",
    tokens=("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"),
    token_ids={
        "vision_start_token_id": "<|vision_start|>",
        "image_token_id": "<|image_pad|>",
        "vision_end_token_id": "<|vision_end|>",
        "video_token_id": "<|video_pad|>",
    },
)
GLM = Kind(
    mark="<|image|>",
    tokens=(
        "<|begin_of_image|>",
        "<|image|>",
        "<|end_of_image|>",
        "<|begin_of_video|>",
        "<|video|>",
        "<|end_of_video|>",
    ),
    token_ids={
        "image_start_token_id": "<|begin_of_image|>",
        "image_token_id": "<|image|>",
        "image_end_token_id": "<|end_of_image|>",
        "video_start_token_id": "<|begin_of_video|>",
        "video_token_id": "<|video|>",
        "video_end_token_id": "<|end_of_video|>",
    },
)
SECTIONS = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
GRID = Kind(
    text={"rope_parameters": SECTIONS},
    vision={"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2},
    images={"patch_size": 4, "merge_size": 2, "size": {"shortest_edge": 256, "longest_edge": 6400}},
)
WHOLE_ROPE = Kind(text={"rope_parameters": {**SECTIONS, "partial_rotary_factor": 1.0}})
QWEN_IMAGES = Kind(processors=("", "Qwen2VLImageProcessorPil"))
DEEPSTACK = Kind(vision={"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]})
SQUARE = Kind(images={"size": {"height": 32, "width": 32}})
CLIP = Kind(
    vision={"model_type": "clip_vision_model"},
    images={"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    processor={"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"},
)
PINPOINTS = Kind(
    config={"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]},
    images={"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]},
)
IDEFICS = image("<image>", "<fake_token_around_image>", "<end_of_utterance>")

NEED_TORCHVISION = ("cohere2_vision", "mistral3")  # to be made or read

KINDS = {
    "aya_vision": Kind(
        tokens=("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "TILE", "TILE_GLOBAL"),
        token_ids={"image_token_index": "<|IMG_PATCH|>"},
        text={"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 9},
        images={"size": {"height": 32, "width": 32}, "max_patches": 6},
        mark="<image>",
        processor={"patch_size": 8, "img_size": 32, "downsample_factor": 2},
    ),
    "qwen3_vl_moe": joined(
        QWEN, GRID, QWEN_IMAGES, DEEPSTACK, Kind(processors=("Qwen3VLProcessor", "Qwen2VLImageProcessorPil"))
    ),
    "hyperclovax_vision_v2": joined(
        QWEN, GRID, QWEN_IMAGES, Kind(vision={"window_size": 16, "fullatt_block_indexes": [1]})
    ),
    "exaone4_5": joined(
        QWEN,
        GRID,
        QWEN_IMAGES,
        Kind(
            text={"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 9},
            vision={"window_size": 16, "fullatt_block_indexes": [1]},
        ),
    ),
    "glm4v": joined(GLM, GRID, WHOLE_ROPE),
    "glm46v": joined(GLM, GRID, WHOLE_ROPE),
    "glm4v_moe": joined(GLM, GRID, WHOLE_ROPE, Kind(processors=("", "Glm4vImageProcessorPil"))),
    "glm_ocr": joined(GLM, GRID, WHOLE_ROPE, Kind(processors=("Glm46VProcessor", "Glm46VImageProcessorPil"))),
    "glmga": joined(GLM, GRID, WHOLE_ROPE, Kind(processors=("Glm46VProcessor", ""))),
    "paddleocr_vl": joined(image("<|IMAGE_PLACEHOLDER|>", image_token="<|IMAGE_PLACEHOLDER|>"), GRID),
    "ernie4_5_vl_moe": joined(
        GRID,
        image(
            "<|IMAGE_PLACEHOLDER|>",
            image_token="<|IMAGE_PLACEHOLDER|>",
            image_start_token="<|IMAGE_START|>",
            image_end_token="<|IMAGE_END|>",
            video_token="<|video|>",
            video_start_token="<|VIDEO_START|>",
            video_end_token="<|VIDEO_END|>",
        ),
        Kind(text={"rope_parameters": {**SECTIONS, "mrope_section": [1, 1, 2]}}),
    ),
    "video_llama_3": joined(QWEN, GRID),
    "cohere_compass": joined(
        image("<|IMAGE_PAD|>", "<|VIDEO_PAD|>", "<|VISION_START|>", "<|VISION_END|>"),
        GRID,
        Kind(text={"rope_parameters": {"full_attention": SECTIONS}}),
    ),
    "cosmos3_edge": joined(QWEN, GRID),
    "hunyuan_vl": joined(
        image("<img>", image_token="<img>", image_start_token="<img_start>", image_end_token="<img_end>"),
        GRID,
        Kind(
            text={
                "head_dim": 8,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 1, 1]},
            },
            vision={"temporal_patch_size": 1, "head_dim": 8},
        ),
    ),
    "vipllava": joined(
        image("<image>"),
        CLIP,
        Kind(config={"vision_feature_layers": [-2, -1]}, processors=("LlavaProcessor", "CLIPImageProcessorPil")),
    ),
    "llava_next_video": joined(image("<image>", "<video>"), CLIP, PINPOINTS),
    "llava_onevision": joined(
        image("<image>", "<video>"),
        SQUARE,
        PINPOINTS,
        Kind(processor={"num_image_tokens": 16, "vision_feature_select_strategy": "full"}),
    ),
    "granite4_vision": joined(
        image("<image>"),
        CLIP,
        PINPOINTS,
        Kind(
            config={"downsample_rate": "1/2", "deepstack_layer_map": [[-2, 0]], "spatial_target_layers": [0, 1]},
            vision={"hidden_size": 64},
            processor={"downsample_rate": "1/2"},
        ),
    ),
    "video_llava": joined(image("<image>", "<video>"), CLIP),
    "deepseek_vl": joined(
        image("<image_placeholder>", image_token="<image_placeholder>"),
        SQUARE,
        Kind(processor={"num_image_tokens": 16}),
    ),
    "deepseek_vl_hybrid": joined(
        image("<image_placeholder>", image_token="<image_placeholder>"),
        SQUARE,
        Kind(
            processor={"num_image_tokens": 16},
            images={"high_res_size": {"height": 64, "width": 64}},
            config={
                "high_res_vision_config": {
                    "model_type": "sam_vision_model",
                    "hidden_size": 32,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 4,
                    "image_size": 64,
                    "patch_size": 8,
                    "output_channels": 16,
                    "global_attn_indexes": [1],
                    "window_size": 4,
                    "mlp_dim": 48,
                }
            },
        ),
    ),
    "janus": joined(
        image(
            "<image_placeholder>",
            image_token="<image_placeholder>",
            boi_token="<begin_of_image>",
            eoi_token="<end_of_image>",
        ),
        SQUARE,
        Kind(processor={"num_image_tokens": 16}),
    ),
    "ovis2": joined(
        image("<IMG_ATOM>", "<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>", "<image>"),
        SQUARE,
        Kind(
            mark="<image>",
            config={"visual_indicator_token_ids": [260, 261, 262, 263, 264]},
            vision={"num_visual_indicator_tokens": 5, "hidden_stride": 2},
            processor={"image_seq_length": 4},
        ),
    ),
    "got_ocr2": joined(
        image("<imgpad>", "<img>", "</img>", "<|im_start|>", "<|im_end|>"),
        Kind(
            vision={"image_size": 1024, "patch_size": 16, "global_attn_indexes": [1]},
            images={"size": {"height": 1024, "width": 1024}},
        ),
    ),
    "pp_chart2table": joined(
        image("<imgpad>", "<img>", "</img>", "<|im_start|>", "<|im_end|>", image_token="<imgpad>"), SQUARE
    ),
    "qianfan_ocr": joined(
        image(
            "<IMG_CONTEXT>", start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>"
        ),
        SQUARE,
        Kind(mark="<image>", vision={"image_size": [32, 32], "patch_size": [8, 8]}, processor={"image_seq_length": 4}),
    ),
    "idefics2": IDEFICS,
    "granite_docling": joined(
        IDEFICS,
        Kind(
            vision={"image_size": 64, "patch_size": 8},
            config={"scale_factor": 4},
            images={"size": {"longest_edge": 128}, "max_image_size": {"longest_edge": 64}},
            processor={"image_seq_len": 4},
        ),
    ),
    "aria": joined(image("<image>", image_token="<image>"), Kind(vision={"image_size": 980, "patch_size": 14})),
    "lighton_ocr": joined(
        image("<image>", image_token="<image>", image_break_token="<break>", image_end_token="<end>"),
        Kind(
            vision={"patch_size": 8, "image_size": 64},
            images={"patch_size": 16, "size": {"longest_edge": 64}},
            processor={"patch_size": 8},
        ),
    ),
    "cohere2_vision": joined(
        image(
            "<|IMG_PATCH|>",
            boi_token="<boi>",
            eoi_token="<eoi>",
            image_token="<|IMG_PATCH|>",
            img_line_break_token="<brk>",
        ),
        Kind(
            text={"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 9},
            vision={"image_size": 64, "patch_size": 8},
            images={"size": {"height": 64, "width": 64}, "patch_size": 4, "max_patches": 4},
        ),
    ),
    "llama4": joined(
        image(
            "<|patch|>", "<|image|>", "<|image_start|>", "<|image_end|>", "<|tile_x_separator|>", "<|tile_y_separator|>"
        ),
        SQUARE,
        Kind(mark="<|image|>", processor={"patch_size": 8}),
    ),
    "mistral3": joined(
        image("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
        Kind(
            vision={"patch_size": 8, "image_size": 64},
            images={"patch_size": 8, "size": {"longest_edge": 64}},
            processor={"patch_size": 8, "spatial_merge_size": 2},
            processors=("PixtralProcessor", ""),
        ),
    ),
    "minimax_m3_vl": joined(
        image("]<]image[>[", "]<]video[>[", "]<]start of image[>[", "]<]end of image[>["),
        Kind(
            images={"patch_size": 4, "merge_size": 2, "size": {"shortest_edge": 256, "longest_edge": 6400}},
            vision={"patch_size": 4},
        ),
    ),
    "molmo2": joined(
        image(
            "<|image|>",
            "<|video|>",
            "<im_start>",
            "<low_res_im_start>",
            "<im_end>",
            "<im_patch>",
            "<im_col>",
            "<im_low>",
        ),
        Kind(
            images={"size": {"height": 64, "width": 64}, "patch_size": 8, "overlap_margins": [1, 1]},
            vision={"image_size": 64, "patch_size": 8},
            config={
                "adapter_config": {
                    "vision_feature_layer": [-1, 0],
                    "hidden_size": 32,
                    "text_hidden_size": 32,
                    "intermediate_size": 48,
                    "num_attention_heads": 4,
                    "num_key_value_heads": 4,
                    "head_dim": 8,
                }
            },
        ),
    ),
    "step3p7": joined(
        image("<im_patch>", "<im_start>", "<im_end>", "<patch_start>", "<patch_end>", "<patch_newline>"),
        Kind(vision={"image_size": 728, "patch_size": 14}),
    ),
    "muse_glimmer": joined(
        image(
            "<|patch|>",
            "<|image_start|>",
            "<|image_end|>",
            "<|video|>",
            "<|vid_frame_separator|>",
            "<|vid_start|>",
            "<|vid_end|>",
        ),
        Kind(images={"patch_size": 4, "merge_size": 2}, vision={"patch_size": 4}),
    ),
    "qwen2_5_omni_thinker": joined(
        image(
            "<|IMAGE|>",
            image_token="<|IMAGE|>",
            audio_token="<|AUDIO|>",
            video_token="<|VIDEO|>",
            vision_bos_token="<vb>",
            vision_eos_token="<ve>",
            audio_bos_token="<ab>",
            audio_eos_token="<ae>",
        ),
        GRID,
        Kind(
            config={
                "audio_config": {
                    "d_model": 40,
                    "encoder_attention_heads": 4,
                    "encoder_ffn_dim": 48,
                    "encoder_layers": 1,
                    "output_dim": 32,
                }
            },
            vision={"out_hidden_size": 32, "window_size": 16, "fullatt_block_indexes": [1]},
            processors=("Qwen2_5OmniProcessor", "Qwen2VLImageProcessorPil"),
        ),
    ),
    "qwen3_omni_moe_thinker": joined(
        image(
            "<|IMAGE|>",
            image_token="<|IMAGE|>",
            audio_token="<|AUDIO|>",
            video_token="<|VIDEO|>",
            vision_bos_token="<vb>",
            vision_eos_token="<ve>",
            audio_bos_token="<ab>",
            audio_eos_token="<ae>",
        ),
        GRID,
        DEEPSTACK,
        Kind(
            config={
                "audio_config": {
                    "d_model": 40,
                    "encoder_attention_heads": 4,
                    "encoder_ffn_dim": 48,
                    "encoder_layers": 1,
                    "output_dim": 32,
                }
            },
            processors=("Qwen3OmniMoeProcessor", "Qwen2VLImageProcessorPil"),
        ),
    ),
}
