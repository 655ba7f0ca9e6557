"""The settings of a vision part (an mmproj file), as config.json and preprocessor_config.json have them.

Such a file says less than those. What it leaves out is as the published checkpoints of its family have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from foveal.errors import CheckpointError
from foveal.models.gguf.kinds import check_kinds
from foveal.models.gguf.reader import GgufFile

Settings = dict[str, Any]
Projector = Callable[["Vision"], tuple[Settings, Settings]]


class Vision:
    """What a file says of its vision part, beside the decoder's file."""

    def __init__(self, file: GgufFile, text: Settings, token_ids: Mapping[str, int]) -> None:
        """Raises CheckpointError for settings of another kind than they should be."""
        check_kinds(file)
        self.file = file
        self.text = text  # the decoder's settings
        self.token_ids = token_ids

    def get(self, name: str, default: Any = None) -> Any:
        return self.file.metadata.get(f"clip.vision.{name}", default)

    def __getitem__(self, name: str) -> Any:
        found = self.get(name)
        if found is None:
            raise CheckpointError(f"{self.file.path} has no clip.vision.{name}; it is incomplete")
        return found

    @property
    def projector(self) -> str:
        return str(self.file.metadata.get("clip.projector_type") or self.get("projector_type"))

    def token(self, *names: str) -> int:
        """The id of the first of these tokens that the decoder's file has."""
        for name in names:
            if name in self.token_ids:
                return self.token_ids[name]
        raise CheckpointError(f"{self.file.path} needs a decoder with the token {names[0]}, which the other file lacks")

    def tower(self, model_type: str, **more: Any) -> Settings:
        return {
            "model_type": model_type,
            "hidden_size": self["embedding_length"],
            "intermediate_size": self["feed_forward_length"],
            "num_hidden_layers": self["block_count"],
            "num_attention_heads": self["attention.head_count"],
            "patch_size": self["patch_size"],
            "image_size": self["image_size"],
            "layer_norm_eps": self["attention.layer_norm_epsilon"],
            **more,
        }

    def pictures(self, **more: Any) -> Settings:
        return {"image_mean": self["image_mean"], "image_std": self["image_std"], **more}


def vision_settings(vision: Vision) -> tuple[Settings, Settings]:
    """config.json, with what its text_config has beside the decoder's settings, and preprocessor_config.json.

    Raises CheckpointError for a projector that cannot be served.
    """
    if vision.projector not in PROJECTORS:
        known = ", ".join(PROJECTORS)
        raise CheckpointError(
            f"{vision.file.path} has the projector {vision.projector!r}; these can be served: {known}"
        )
    config, pictures = PROJECTORS[vision.projector](vision)
    return {"text_config": {}, **config}, pictures


# --- projectors -------------------------------------------------------------------------------------------------------


def _idefics3(vision: Vision) -> tuple[Settings, Settings]:
    tile = vision["image_size"]
    config = {
        "model_type": "idefics3",
        "scale_factor": vision["projector.scale_factor"],
        "image_token_id": vision.token("<image>"),
        "vision_config": vision.tower("idefics3_vision", hidden_act="gelu_pytorch_tanh"),
    }
    longest = vision.get("preproc_image_size", 4 * tile)
    return config, vision.pictures(size={"longest_edge": longest}, max_image_size={"longest_edge": tile}, resample=1)


def _gemma3(vision: Vision) -> tuple[Settings, Settings]:
    side = vision["image_size"]
    config = {
        "model_type": "gemma3",
        "mm_tokens_per_image": (side // vision["patch_size"] // vision.get("projector.scale_factor", 4)) ** 2,
        "boi_token_index": vision.token("<start_of_image>"),
        "eoi_token_index": vision.token("<end_of_image>"),
        "image_token_index": vision.token("<image_soft_token>"),
        "vision_config": vision.tower("siglip_vision_model", hidden_act="gelu_pytorch_tanh"),
    }
    return config, vision.pictures(size={"height": side, "width": side}, resample=2)


def _llava(vision: Vision) -> tuple[Settings, Settings]:
    """Its file has the tower's layers up to the one whose states are used, unless it names several."""
    side, pinpoints = vision["image_size"], vision.get("image_grid_pinpoints")
    has_class_token = "v.class_embd" in vision.file.tensors
    kind = "clip_vision_model" if has_class_token else "siglip_vision_model"
    usual = "quick_gelu" if has_class_token else "gelu_pytorch_tanh"
    act = "gelu" if has_class_token and vision.file.metadata.get("clip.use_gelu") else usual
    config: Settings = {
        "model_type": "llava_next" if pinpoints else "llava",
        "image_token_index": vision.token("<image>"),
        "vision_feature_layer": vision.get("feature_layer", -1),
        "vision_feature_select_strategy": "default" if has_class_token else "full",
        "projector_hidden_act": "gelu",
        "vision_config": vision.tower(kind, hidden_act=act),
    }
    if pinpoints:
        config["image_grid_pinpoints"] = [pinpoints[i : i + 2] for i in range(0, len(pinpoints), 2)]
    square = {"height": side, "width": side}
    cut = {"size": {"shortest_edge": side}, "crop_size": square}  # out of the middle
    whole = {"size": square, "do_center_crop": False}
    return config, vision.pictures(resample=3, **(cut if has_class_token else whole))


def _internvl(vision: Vision) -> tuple[Settings, Settings]:
    side, patch, factor = vision["image_size"], vision["patch_size"], vision["projector.scale_factor"]
    norms = "v.blk.0.ln1.bias" in vision.file.tensors
    tower = vision.tower("internvl_vision", hidden_act="gelu", norm_type="layer_norm" if norms else "rms_norm")
    config = {
        "model_type": "internvl",
        "downsample_ratio": 1 / factor,
        "image_seq_length": (side // patch // factor) ** 2,
        "image_token_id": vision.token("<IMG_CONTEXT>"),
        "tie_word_embeddings": vision.text["tie_word_embeddings"],
        "vision_config": tower,
    }
    tiles = {"min_patches": vision.get("preproc_min_tiles", 1), "max_patches": vision.get("preproc_max_tiles", 12)}
    return config, vision.pictures(size={"height": side, "width": side}, resample=3, **tiles)


def _qwen(model_type: str, min_pixels: int, max_pixels: int, **more: Any) -> Projector:
    def settings(vision: Vision) -> tuple[Settings, Settings]:
        patch, merge = vision["patch_size"], vision.get("spatial_merge_size", 2)
        tower = {
            "model_type": f"{model_type}_vision" if model_type != "qwen3_vl" else model_type,
            "depth": vision["block_count"],
            "num_heads": vision["attention.head_count"],
            "patch_size": patch,
            "spatial_merge_size": merge,
            "hidden_size": vision["embedding_length"],
            **more,
            **_of_layers(vision, model_type),
        }
        config = {
            "model_type": model_type,
            "text_config": {"model_type": f"{model_type}_text"},
            "image_token_id": vision.token("<|image_pad|>"),
            "tie_word_embeddings": vision.text["tie_word_embeddings"],
            "vision_config": tower,
        }
        return config, vision.pictures(
            patch_size=patch,
            merge_size=merge,
            temporal_patch_size=2,
            min_pixels=vision.get("image_min_pixels", min_pixels),
            max_pixels=vision.get("image_max_pixels", max_pixels),
        )

    return settings


def _of_layers(vision: Vision, model_type: str) -> Settings:
    """Which layers see the whole picture, or are merged, too."""
    if model_type == "qwen2_5_vl":
        every = vision.get("n_wa_pattern", 8)
        listed = vision.get("wa_layer_indexes")
        full = listed or [i for i in range(vision["block_count"]) if (i + 1) % every == 0]
        return {"fullatt_block_indexes": full, "window_size": vision.get("window_size", 112)}
    if model_type == "qwen3_vl":
        return {"deepstack_visual_indexes": [i for i, is_one in enumerate(vision["is_deepstack_layers"]) if is_one]}
    return {}


PROJECTORS: Mapping[str, Projector] = {
    "idefics3": _idefics3,
    "gemma3": _gemma3,
    "mlp": _llava,
    "internvl": _internvl,
    "qwen2vl_merger": _qwen("qwen2_vl", 56 * 56, 28 * 28 * 16384, hidden_act="quick_gelu"),
    "qwen2.5vl_merger": _qwen("qwen2_5_vl", 56 * 56, 28 * 28 * 16384, hidden_act="silu"),
    "qwen3vl_merger": _qwen("qwen3_vl", 256 * 256, 4096 * 4096, hidden_act="gelu_pytorch_tanh"),
}
