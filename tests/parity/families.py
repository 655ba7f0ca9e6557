"""Every family, as a tiny random checkpoint made by the reference library, with what tests need to ask it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import transformers

from foveal.layers.grid_vision import block_rows
from foveal.models.gemma4.tower import square_rows
from tests.parity.references import TEXT, Reference, reference, save_tokenizer
from tests.parity.text import EXPERTS, GEMMA4, GRANITE, YARN

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.models.family import CropRange

Make = Callable[["Path", int], Reference]


@dataclass(frozen=True)
class Family:
    """make: write a checkpoint of some seed. The rest says how the reference's processor is spoken to."""

    make: Make
    image_token: str  # what stands for an image in its text
    pixels: Callable[[Any, CropRange], torch.Tensor]  # what our tower sees of an image, float32
    reference_pixels: Callable[[dict[str, torch.Tensor]], torch.Tensor]  # the same of the only image, as it says
    arguments: dict[str, Any] = field(default_factory=dict)  # of its call


def mllama(folder: Path, seed: int) -> Reference:
    tokenizer = save_tokenizer(folder, ("<|python_tag|>", "<|image|>"))  # the last one is beyond the vocabulary
    config = transformers.MllamaConfig(
        text_config={**TEXT, "num_hidden_layers": 5, "cross_attention_layers": [1, 3], "vocab_size": 260},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 4,
            "num_global_layers": 2,
            "attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "intermediate_layers_indices": [0, 2],
            "vision_output_dim": 48,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
    )
    images = transformers.MllamaImageProcessorPil(size={"height": 28, "width": 28})
    images.save_pretrained(folder)
    made = reference(folder, transformers.MllamaForConditionalGeneration, config, seed)
    for layer in made.model.model.language_model.layers:
        mask_rows_that_see_nothing(layer)
    return made.with_processor(transformers.MllamaProcessor(images, tokenizer))


def mask_rows_that_see_nothing(layer: torch.nn.Module) -> None:
    """As Meta's code does, and transformers does for the MLP alone (see foveal.models.mllama.model)."""
    attention = getattr(layer, "cross_attn", None)
    if not isinstance(attention, torch.nn.Module):
        return
    masks: list[Any] = []

    def note(_: object, args: object, kwargs: dict[str, Any]) -> None:
        masks[:] = [kwargs["full_text_row_masked_out_mask"]]

    def mask(_: object, args: object, output: tuple[torch.Tensor, Any]) -> tuple[torch.Tensor, Any]:
        return (output[0] if masks[0] is None else output[0] * masks[0][:, 0], output[1])

    layer.register_forward_pre_hook(note, with_kwargs=True)
    attention.register_forward_hook(mask)


QWEN_TOKENS = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
QWEN_TEXT = {**TEXT, "vocab_size": 270, "tie_word_embeddings": False}
GRID = {"depth": 3, "num_heads": 2, "patch_size": 4, "in_channels": 3, "spatial_merge_size": 2}


def qwen(kind: str, vision: dict[str, Any], text: dict[str, Any], folder: Path, seed: int) -> Reference:
    """kind: Qwen2VL, Qwen2_5_VL, Qwen3VL, Qwen3_5 or Qwen3_5Moe."""
    tokenizer = save_tokenizer(folder, QWEN_TOKENS)
    ids = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in zip(
            ("vision_start_token_id", "image_token_id", "vision_end_token_id", "video_token_id"),
            QWEN_TOKENS,
            strict=True,
        )
    }
    config = getattr(transformers, f"{kind}Config")(
        text_config={**QWEN_TEXT, **text}, vision_config={**GRID, **vision}, **ids
    )
    images = transformers.Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, size={"shortest_edge": 256, "longest_edge": 6400}
    )
    images.save_pretrained(folder)
    made = reference(folder, getattr(transformers, f"{kind}ForConditionalGeneration"), config, seed)
    processor_name = "Qwen3VL" if "3_5" in kind else kind  # Qwen3.5 has none of its own
    processor_class = getattr(transformers, f"{processor_name}Processor")
    return made.with_processor(without_video(processor_class)(images, tokenizer))


def without_video(processor_class: type) -> type:
    """The processor as it is, but for the check of its video part, which needs torchvision."""
    return type("Processor", (processor_class,), {"check_argument_for_proper_class": lambda *_: None})


def qwen_pixels(images: Any, item: CropRange) -> torch.Tensor:
    return block_rows(images.pixels(item), 4, 2)


def qwen_reference_pixels(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    frames = inputs["pixel_values"].reshape(-1, 3, 2, 4, 4)
    assert torch.equal(frames[:, :, 0], frames[:, :, 1])
    return frames[:, :, 0].flatten(1)


def qwen_family(kind: str, vision: dict[str, Any], **text: Any) -> Family:
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    return Family(functools.partial(qwen, kind, vision, text), image, qwen_pixels, qwen_reference_pixels)


IDEFICS_TOKENS = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
SIGLIP = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}


def idefics3(kind: str, side: int, rest: int, folder: Path, seed: int) -> Reference:
    """kind: Idefics3 or SmolVLM. side: patches a side of a tile, and rest: pixels beyond the last of them."""
    tile = 4 * side + rest
    tokenizer = save_tokenizer(folder, (*IDEFICS_TOKENS, "<row_1_col_1>", "<row_2_col_1>"))
    config = getattr(transformers, f"{kind}Config")(
        text_config={**TEXT, "model_type": "llama"},
        vision_config={**SIGLIP, "image_size": tile, "patch_size": 4},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    images = getattr(transformers, f"{kind}ImageProcessorPil")(
        size={"longest_edge": 3 * tile}, max_image_size={"longest_edge": tile}
    )
    images.save_pretrained(folder)
    made = reference(folder, getattr(transformers, f"{kind}ForConditionalGeneration"), config, seed)
    processor_class = without_video(transformers.Idefics3Processor)  # SmolVLM's own is the same, with video
    return made.with_processor(processor_class(images, tokenizer, image_seq_len=side**2 // 4))


def idefics3_family(kind: str, side: int, rest: int = 0) -> Family:
    return Family(
        functools.partial(idefics3, kind, side, rest),
        "<image>",
        lambda images, item: images.crops(item),
        lambda inputs: inputs["pixel_values"][0],
    )


CLIP = {**SIGLIP, "model_type": "clip_vision_model", "image_size": 24, "patch_size": 4}


def llava(
    kind: str, text: dict[str, Any], vision: dict[str, Any], settings: dict[str, Any], folder: Path, seed: int
) -> Reference:
    """kind: Llava or LlavaNext."""
    tokenizer = save_tokenizer(folder, ("<image>",))
    config = getattr(transformers, f"{kind}Config")(
        text_config={**TEXT, **text},
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        **settings,
    )
    own = {"image_grid_pinpoints": settings["image_grid_pinpoints"]} if kind == "LlavaNext" else {}
    is_clip = vision["model_type"] == "clip_vision_model"
    images = getattr(transformers, f"{kind}ImageProcessorPil")(
        size={"shortest_edge": 24} if is_clip else {"height": 24, "width": 24},
        crop_size={"height": 24, "width": 24},
        do_center_crop=is_clip,
        **own,
    )
    images.save_pretrained(folder)
    made = reference(folder, getattr(transformers, f"{kind}ForConditionalGeneration"), config, seed)
    return made.with_processor(
        getattr(transformers, f"{kind}Processor")(
            images,
            tokenizer,
            patch_size=4,
            vision_feature_select_strategy=config.vision_feature_select_strategy,
            num_additional_image_tokens=int(is_clip),
        )
    )


def llava_family(kind: str, text: str | dict[str, Any], vision: dict[str, Any], **settings: Any) -> Family:
    """text: the decoder's settings, or its type alone."""

    def reference_pixels(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return inputs["pixel_values"][0] if kind == "LlavaNext" else inputs["pixel_values"]

    of_text = {"model_type": text} if isinstance(text, str) else text
    make = functools.partial(llava, kind, of_text, vision, settings)
    return Family(make, "<image>", lambda images, item: images.crops(item), reference_pixels)


PINPOINTS = [[24, 48], [48, 24], [48, 48], [72, 24], [24, 72]]


def gemma3(folder: Path, seed: int) -> Reference:
    named = {"boi_token": "<start_of_image>", "image_token": "<image_soft_token>", "eoi_token": "<end_of_image>"}
    tokenizer = save_tokenizer(folder, tuple(named.values()), extra_special_tokens=named)
    config = transformers.Gemma3Config(
        text_config={
            **TEXT,
            "num_hidden_layers": 4,
            "head_dim": 16,
            "sliding_window": 9,
            "query_pre_attn_scalar": 24,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        vision_config={**SIGLIP, "image_size": 32, "patch_size": 4, "vision_use_head": False},
        mm_tokens_per_image=16,
        boi_token_index=tokenizer.boi_token_id,
        image_token_index=tokenizer.image_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
    )
    images = transformers.Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    images.save_pretrained(folder)
    made = reference(folder, transformers.Gemma3ForConditionalGeneration, config, seed)
    return made.with_processor(transformers.Gemma3Processor(images, tokenizer, image_seq_length=16))


GEMMA4_TOKENS = {
    "boi_token": "<|image>",
    "image_token": "<|image|>",
    "eoi_token": "<image|>",
    "boa_token": "<|audio>",
    "audio_token": "<|audio|>",
    "eoa_token": "<audio|>",
}


class MergedPatches(transformers.Gemma4ImageProcessorPil):  # type: ignore[misc] # the library's are untyped
    """Gemma4UnifiedImageProcessor without torchvision: the same, and neighbouring patches become one."""

    def _preprocess(self, *args: Any, **kwargs: Any) -> Any:
        made = super()._preprocess(*args, **kwargs)
        values, at = made["pixel_values"], made["image_position_ids"]
        merged = torch.zeros(len(at), at.shape[1] // 4, 8 * 8 * 3)
        places = torch.full((*merged.shape[:2], 2), -1)
        for i, (x_PV, at_P2) in enumerate(zip(values, at, strict=True)):
            is_patch = at_P2[:, 0] >= 0
            columns, rows = (at_P2[is_patch].max(dim=0).values + 1).tolist()
            patches = x_PV[is_patch].view(rows // 2, 2, columns // 2, 2, 4, 4, 3)
            squares = patches.permute(0, 2, 1, 4, 3, 5, 6).flatten(2).flatten(0, 1)
            merged[i, : len(squares)] = squares
            grid = torch.cartesian_prod(torch.arange(rows // 2), torch.arange(columns // 2)).flip(1)
            places[i, : len(squares)] = grid
        return {**made, "pixel_values": merged, "image_position_ids": places}


def two_way_in_windows_alone(model: Any) -> None:
    """As the reference's masks for static caches are, and Google's code; its plain forward is behind for this type.

    See https://github.com/huggingface/transformers/issues/46711.
    """

    def mask(_: object, args: object, kwargs: dict[str, Any]) -> tuple[object, dict[str, Any]]:
        marks, token_ids, past = kwargs.get("mm_token_type_ids"), kwargs["input_ids"], kwargs.get("past_key_values")
        if marks is None:
            return args, kwargs
        shape = torch.empty(*token_ids.shape, 1)
        positions = kwargs.get("position_ids")
        masks = model.create_masks_for_generate(
            model.config, shape, kwargs["attention_mask"], past, positions, mm_token_type_ids=marks
        )
        return args, {**kwargs, "attention_mask": masks}

    model.model.register_forward_pre_hook(mask, with_kwargs=True)


def gemma4(kind: str, vision: dict[str, Any], text: dict[str, Any], folder: Path, seed: int) -> Reference:
    """kind: Gemma4 or Gemma4Unified, whose image processors are the same but for the order of values."""
    tokenizer = save_tokenizer(folder, (*GEMMA4_TOKENS.values(), "<|video|>"), extra_special_tokens=GEMMA4_TOKENS)
    config = getattr(transformers, f"{kind}Config")(
        text_config={**TEXT, **GEMMA4, "vocab_size": 264, **text},  # the image's mark is beyond the vocabulary
        vision_config={"patch_size": 4, "pooling_kernel_size": 2, **vision},
        boi_token_id=tokenizer.boi_token_id,
        image_token_id=tokenizer.image_token_id,
        eoi_token_id=tokenizer.eoi_token_id,
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        audio_token_id=tokenizer.audio_token_id,
    )
    images_class = MergedPatches if kind == "Gemma4Unified" else transformers.Gemma4ImageProcessorPil
    images = images_class(patch_size=4, pooling_kernel_size=2, max_soft_tokens=70)
    images.save_pretrained(folder)
    made = reference(folder, getattr(transformers, f"{kind}ForConditionalGeneration"), config, seed)
    if kind == "Gemma4Unified":
        two_way_in_windows_alone(made.model)
    processor_class = without_video(transformers.Gemma4Processor)
    return made.with_processor(processor_class(transformers.Gemma4AudioFeatureExtractor(), images, tokenizer, None))


def gemma4_family(kind: str, vision: dict[str, Any], **text: Any) -> Family:
    is_unified = kind == "Gemma4Unified"

    def reference_pixels(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        is_patch = inputs["image_position_ids"][0, :, 0] >= 0
        values = inputs["pixel_values"][0][is_patch]
        return values if is_unified else 2 * (values - 0.5)

    return Family(
        functools.partial(gemma4, kind, vision, text),
        "<|image|>",
        lambda images, item: square_rows(images.pixels(item), 8 if is_unified else 4),
        reference_pixels,
    )


def internvl(vision: dict[str, Any], folder: Path, seed: int) -> Reference:
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = save_tokenizer(folder, tuple(named.values()), extra_special_tokens=named)
    config = transformers.InternVLConfig(
        text_config={**TEXT, "model_type": "qwen2"},
        vision_config={**SIGLIP, "image_size": [24, 24], "patch_size": [4, 4], **vision},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=9,
        tie_word_embeddings=False,
    )
    images = transformers.GotOcr2ImageProcessorPil(
        size={"height": 24, "width": 24}, crop_to_patches=True, max_patches=6
    )
    images.save_pretrained(folder)
    made = reference(folder, transformers.InternVLForConditionalGeneration, config, seed)
    processor_class = without_video(transformers.InternVLProcessor)
    return made.with_processor(processor_class(images, tokenizer, image_seq_length=9))


def internvl_family(**vision: Any) -> Family:
    return Family(
        functools.partial(internvl, vision),
        "<IMG_CONTEXT>",
        lambda images, item: images.crops(item),
        lambda inputs: inputs["pixel_values"],
    )


GEMMA4_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "position_embedding_size": 2240,
}
QWEN2_5_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "out_hidden_size": 32,
    "window_size": 24,
    "fullatt_block_indexes": [1],
}
QWEN3_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "out_hidden_size": 32,
    "num_position_embeddings": 36,
    "deepstack_visual_indexes": [0, 2],
}
SECTIONS = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
INTERLEAVED = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], "mrope_interleaved": True}

QWEN3_5_TOWER = {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 32, "num_position_embeddings": 36}
QWEN3_5_TEXT = {
    "num_hidden_layers": 5,
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "linear_attention", "full_attention"],
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e4,
        "partial_rotary_factor": 0.5,
        "mrope_section": [4, 2, 2],
        "mrope_interleaved": True,
    },
}

FAMILIES = {
    "qwen2_vl": qwen_family("Qwen2VL", {"embed_dim": 32, "hidden_size": 32}, rope_parameters=SECTIONS),
    "qwen2_5_vl": qwen_family("Qwen2_5_VL", QWEN2_5_TOWER, rope_parameters=SECTIONS),
    "qwen2_5_vl, yarn": qwen_family("Qwen2_5_VL", QWEN2_5_TOWER, rope_parameters={**SECTIONS, **YARN}),
    "qwen3_vl": qwen_family(
        "Qwen3VL",
        QWEN3_TOWER,
        rope_parameters=INTERLEAVED,
        head_dim=16,
    ),
    "qwen3_vl, yarn": qwen_family("Qwen3VL", QWEN3_TOWER, head_dim=16, rope_parameters={**INTERLEAVED, **YARN}),
    "qwen3_5": qwen_family("Qwen3_5", QWEN3_5_TOWER, **QWEN3_5_TEXT),
    "qwen3_5_moe": qwen_family("Qwen3_5Moe", QWEN3_5_TOWER, **QWEN3_5_TEXT, **EXPERTS),
    "idefics3": idefics3_family("Idefics3", 6),
    "smolvlm": idefics3_family("SmolVLM", 8),
    "smolvlm, 2.2B": idefics3_family("SmolVLM", 6, rest=3),
    "gemma3": Family(
        gemma3, "<start_of_image>", lambda images, item: images.crops(item), lambda inputs: inputs["pixel_values"]
    ),
    "gemma4": gemma4_family("Gemma4", GEMMA4_TOWER, use_bidirectional_attention="vision"),
    "gemma4, small": gemma4_family(
        "Gemma4",
        {**GEMMA4_TOWER, "use_clipped_linears": True},
        hidden_size_per_layer_input=12,
        vocab_size_per_layer_input=264,
        num_kv_shared_layers=3,
        use_double_wide_mlp=True,
        final_logit_softcapping=3.0,
    ),
    "gemma4, experts": gemma4_family(
        "Gemma4",
        {**GEMMA4_TOWER, "standardize": True},
        use_bidirectional_attention="vision",
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
        enable_moe_block=True,
        num_experts=6,
        top_k_experts=3,
        moe_intermediate_size=12,
    ),
    "gemma4_unified": gemma4_family(
        "Gemma4Unified",
        {"mm_embed_dim": 24, "output_proj_dims": 24, "mm_posemb_size": 1120},
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
    ),
    "internvl": internvl_family(),
    "internvl, large tower": internvl_family(norm_type="rms_norm", use_qk_norm=True, use_mean_pooling=False),
    "llava": llava_family("Llava", "llama", CLIP),
    "llava, siglip and qwen2": llava_family(
        "Llava",
        "qwen2",
        {**CLIP, "model_type": "siglip_vision_model", "vision_use_head": False},
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    ),
    "llava, several layers": llava_family("Llava", "llama", CLIP, vision_feature_layer=[-1, 0, -3]),
    "llava_next": llava_family("LlavaNext", "mistral", CLIP, image_grid_pinpoints=PINPOINTS),
    "llava_next, as Granite Vision": llava_family(
        "LlavaNext",
        {"model_type": "granite", **GRANITE},
        {**CLIP, "model_type": "siglip_vision_model", "vision_use_head": False},
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=[-3, -2, -1],
        vision_feature_select_strategy="full",
    ),
    "mllama": Family(
        mllama,
        "<|image|>",
        lambda images, item: images.crops(item),
        lambda inputs: inputs["pixel_values"][0, 0][: int(inputs["aspect_ratio_mask"].sum())],
    ),
}
