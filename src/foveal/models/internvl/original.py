"""InternVL in the layout of its authors (`internvl_chat`): a folder in the layout of the transformers library.

OpenGVLab/InternVL3-1B ... 78B, InternVL2.5, InternVL3.5. Settings have other names, and there may be no tokenizer.json.
The weights are the same under other names, which `foveal.models.internvl.names` finds. Code beside them is never run.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from foveal.errors import CheckpointError
from foveal.models.bounds import check_settings, shown
from foveal.models.checkpoint import MAX_TOKENIZER_BYTES, Settings, read_json
from foveal.models.gguf.tokens import byte_level
from foveal.models.made import made_folder

if TYPE_CHECKING:
    from pathlib import Path

    Json = dict[str, Any]

FORMAT = "1"  # of the folders
LINKED = ("*.json", "*.jinja", "*.safetensors", "merges.txt")
ONLY = {"ps_version": "v2", "select_layer": -1, "pad2square": False, "use_thumbnail": True}  # what is implemented
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CONTEXT = "<IMG_CONTEXT>"
TOWER = {  # what keeps its name in vision_config
    *("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "patch_size"),
    *("hidden_act", "layer_norm_eps", "norm_type"),
}


def folder_of(original: Path) -> Path:
    """Raises CheckpointError for what is not implemented."""
    links = {path.name: path for pattern in LINKED for path in sorted(original.glob(pattern))}
    return made_folder("internvl", FORMAT, links, functools.partial(_files, original))


def _files(original: Path) -> dict[str, Json]:
    place = original / "config.json"
    config = read_json(place).placed(str(place))
    check_settings(str(place), config)
    for name, value in ONLY.items():
        if config.get(name, value) != value:
            raise CheckpointError(f"{place}: {name} is {shown(config[name])}; only {shown(value)} is implemented")
    tokenizer = _tokenizer(original)
    vision = config["vision_config"]
    side = config.get("force_image_size") or vision["image_size"]
    return {
        **({} if (original / "tokenizer.json").is_file() else {"tokenizer.json": tokenizer}),
        "config.json": _config(config, vision, side, _context_id(original, tokenizer)),
        "preprocessor_config.json": _pictures(config, read_json(original / "preprocessor_config.json"), side),
    }


def _config(config: Settings, vision: Settings, side: int, context_id: int) -> Json:
    text, ratio = config["llm_config"], config.get("downsample_ratio", 0.5)
    common = ("dtype", "torch_dtype", "quantization_config")
    return {
        **{name: config[name] for name in common if config.get(name) is not None},
        "model_type": "internvl",
        "text_config": text,
        "vision_config": {
            **{name: value for name, value in vision.items() if name in TOWER},
            "model_type": "internvl_vision",
            "image_size": side,
            "use_qk_norm": bool(vision.get("qk_normalization")),
        },
        "downsample_ratio": ratio,
        "image_seq_length": round((side // vision["patch_size"] * ratio) ** 2),
        "image_token_id": context_id,
        "tie_word_embeddings": bool(text.get("tie_word_embeddings")),
    }


def _pictures(config: Settings, settings: Settings, side: int) -> Json:
    """Without dynamic_image_size a picture is one tile."""
    is_cut = config.get("dynamic_image_size", True)
    return {
        **{name: settings.get(name, usual) for name, usual in IMAGENET.items()},
        "size": {"height": side, "width": side},
        "min_patches": config.get("min_dynamic_patch", 1) if is_cut else 1,
        "max_patches": config.get("max_dynamic_patch", 12) if is_cut else 1,
    }


def _context_id(original: Path, tokenizer: Json) -> int:
    found = [token["id"] for token in tokenizer.get("added_tokens", ()) if token.get("content") == CONTEXT]
    if not found:
        raise CheckpointError(f"{original} has a tokenizer without {CONTEXT}; it is of another kind")
    return int(found[0])


def _tokenizer(original: Path) -> Json:
    """tokenizer.json, or what it would be for the older files of Qwen's tokenizer."""
    if found := read_json(original / "tokenizer.json", MAX_TOKENIZER_BYTES):
        return found
    vocab = read_json(original / "vocab.json", MAX_TOKENIZER_BYTES)
    merges = original / "merges.txt"
    if not vocab or not merges.is_file():
        raise CheckpointError(f"{original} has neither tokenizer.json nor vocab.json and merges.txt")
    lines = merges.read_text("utf-8").splitlines()
    pairs = [
        (left, right) for left, _, right in (line.partition(" ") for line in lines) if right and left != "#version:"
    ]
    added = read_json(original / "tokenizer_config.json").get("added_tokens_decoder", Settings())
    return {
        "version": "1.0",
        **byte_level("qwen2", dict(vocab), pairs),
        "added_tokens": [{**token, "id": int(number)} for number, token in added.items()],
    }
