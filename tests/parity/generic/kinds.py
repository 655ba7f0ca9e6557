"""Small random checkpoints of the types of transformers, each made by its own config class, model and processor.

Settings that give a size are made small by their names. What a type needs beside that is said in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    processors: tuple[str, str] = ("", "")  # classes of the processor and of its part for images; "": as mapped


def make(model_type: str, folder: Path, seed: int = 0) -> None:
    """Write the checkpoint."""
    kind = KINDS[model_type]
    tokenizer = save_tokenizer(folder, kind.tokens, extra_special_tokens=dict(kind.named))
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in kind.token_ids.items()}
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
    return {name: _small_value(name, value) for name, value in settings.items() if name != "layer_types"}


def _small_value(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return _small(value)
    if name in SMALL and value is not None and not isinstance(value, list):
        return SMALL[name]
    return value


def save_processor(folder: Path, kind: Kind, config: Any, tokenizer: Any) -> None:
    whole, of_images = kind.processors
    images_class = getattr(transformers, of_images) if of_images else IMAGE_PROCESSOR_MAPPING[type(config)]["pil"]
    images = images_class(**kind.images)
    processor_class = getattr(transformers, whole) if whole else PROCESSOR_MAPPING[type(config)]
    unchecked = type(processor_class.__name__, (processor_class,), {"check_argument_for_proper_class": lambda *_: None})
    images.save_pretrained(folder)
    parts = {"image_processor": images, "tokenizer": tokenizer}
    named = {name: parts.get(name) for name in processor_class.get_attributes()}
    processor = unchecked(**named, **kind.processor)
    for name in processor_class.get_attributes():
        if name not in parts:
            delattr(processor, name)
    processor.save_pretrained(folder)
    mark = getattr(processor, "boi_token", None) or getattr(processor, "image_token", None) or tokenizer.image_token
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("MARK", mark), "utf-8")


KINDS = {
    "aya_vision": Kind(
        tokens=("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "TILE", "TILE_GLOBAL"),
        token_ids={"image_token_index": "<|IMG_PATCH|>"},
        images={"size": {"height": 32, "width": 32}, "max_patches": 6},
        processor={"patch_size": 8, "img_size": 32, "downsample_factor": 2},
    ),
}
