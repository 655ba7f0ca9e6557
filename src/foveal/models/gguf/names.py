"""The tensors of GGUF files under the names of Hugging Face's layouts, and how a tensor of theirs is made of them.

llama.cpp changes a few tensors as it converts a checkpoint. Here they are changed back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Change = Literal["", "paired rows of queries", "paired rows of keys", "one added", "frames apart"]
"""What was done to a tensor: Llama's queries and keys have the rows of a head in pairs, Gemma's norms have one added,
and the convolution of Qwen's tower is one for each of two frames."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a tensor of Hugging Face's layouts comes from."""

    names: tuple[str, ...]  # in GGUF files
    change: Change = ""


_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GEMMA_LAYER = _LAYER | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_PHI3_LAYER = _LAYER | {"ffn_up": "mlp.gate_up_proj"}
_CLIP_LAYER = {
    "ln1": "layer_norm1",
    "ln2": "layer_norm2",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_out": "self_attn.out_proj",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
_CLIP = {
    "v.class_embd": "embeddings.class_embedding",
    "v.patch_embd.weight": "embeddings.patch_embedding.weight",
    "v.patch_embd.bias": "embeddings.patch_embedding.bias",
    "v.position_embd.weight": "embeddings.position_embedding.weight",
    **{f"v.pre_ln.{part}": f"pre_layrnorm.{part}" for part in ("weight", "bias")},  # sic
    **{f"v.post_ln.{part}": f"post_layernorm.{part}" for part in ("weight", "bias")},
}
_INTERN_LAYER = {
    "ln1": "layernorm_before",
    "ln2": "layernorm_after",
    "attn_q": "attention.q_proj",
    "attn_k": "attention.k_proj",
    "attn_v": "attention.v_proj",
    "attn_qkv": "attention.qkv",
    "attn_q_norm": "attention.q_norm",
    "attn_k_norm": "attention.k_norm",
    "attn_out": "attention.projection_layer",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
    "ls1": "lambda_1",
    "ls2": "lambda_2",
}
_QWEN_LAYER = {
    "ln1": "norm1",
    "ln2": "norm2",
    "attn_q": "attn.q_proj",
    "attn_k": "attn.k_proj",
    "attn_v": "attn.v_proj",
    "attn_qkv": "attn.qkv",
    "attn_out": "attn.proj",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of a family's vision part."""

    tower: str
    layers: str  # of the tower, before a layer's number
    layer: dict[str, str]
    others: dict[str, str]  # whole names
    text: str = "model.language_model"


def _projector(pairs: dict[str, str]) -> dict[str, str]:
    return {f"{old}.{part}": f"{new}.{part}" for old, new in pairs.items() for part in ("weight", "bias")}


def _of_tower(tower: str, others: dict[str, str]) -> dict[str, str]:
    return {old: f"{tower}.{new}" for old, new in others.items()}


_LLAVA_TOWER, _SMOL_TOWER, _QWEN = "vision_tower.vision_model", "model.vision_model", "model.visual"
_QWEN_MERGER = _projector({"v.post_ln": f"{_QWEN}.merger.ln_q", "mm.0": f"{_QWEN}.merger.mlp.0"})
LAYOUTS: dict[str, Layout] = {
    "llava": Layout(
        _LLAVA_TOWER,
        "encoder.layers",
        _CLIP_LAYER,
        _of_tower(_LLAVA_TOWER, _CLIP)
        | _projector({"mm.0": "multi_modal_projector.linear_1", "mm.2": "multi_modal_projector.linear_2"})
        | {"model.image_newline": "image_newline", "v.image_newline": "image_newline"},
    ),
    "gemma3": Layout(
        _LLAVA_TOWER,
        "encoder.layers",
        _CLIP_LAYER,
        _of_tower(_LLAVA_TOWER, _CLIP)
        | {
            "mm.input_projection.weight": "multi_modal_projector.mm_input_projection_weight",
            "mm.soft_emb_norm.weight": "multi_modal_projector.mm_soft_emb_norm.weight",
        },
    ),
    "idefics3": Layout(
        _SMOL_TOWER,
        "encoder.layers",
        _CLIP_LAYER,
        _of_tower(_SMOL_TOWER, _CLIP) | _projector({"mm.model.fc": "model.connector.modality_projection.proj"}),
        text="model.text_model",
    ),
    "internvl": Layout(
        "model.vision_tower",
        "encoder.layer",
        _INTERN_LAYER,
        _of_tower(
            "model.vision_tower",
            {
                "v.class_embd": "embeddings.cls_token",
                "v.patch_embd.weight": "embeddings.patch_embeddings.projection.weight",
                "v.patch_embd.bias": "embeddings.patch_embeddings.projection.bias",
                "v.position_embd": "embeddings.position_embeddings",
                "v.position_embd.weight": "embeddings.position_embeddings",
            },
        )
        | _projector(
            {
                "mm.model.mlp.0": "model.multi_modal_projector.layer_norm",
                "mm.model.mlp.1": "model.multi_modal_projector.linear_1",
                "mm.model.mlp.3": "model.multi_modal_projector.linear_2",
            }
        ),
    ),
    "qwen2_vl": Layout(
        _QWEN,
        "blocks",
        _QWEN_LAYER | {"ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"},
        _QWEN_MERGER | _projector({"mm.2": f"{_QWEN}.merger.mlp.2"}),
    ),
    "qwen2_5_vl": Layout(
        _QWEN,
        "blocks",
        _QWEN_LAYER | {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"},
        _QWEN_MERGER | _projector({"mm.2": f"{_QWEN}.merger.mlp.2"}),
    ),
    "qwen3_vl": Layout(
        _QWEN,
        "blocks",
        _QWEN_LAYER | {"ffn_up": "mlp.linear_fc1", "ffn_down": "mlp.linear_fc2"},
        {"v.position_embd.weight": f"{_QWEN}.pos_embed.weight", "v.patch_embd.bias": f"{_QWEN}.patch_embed.proj.bias"}
        | _projector(
            {
                "v.post_ln": f"{_QWEN}.merger.norm",
                "mm.0": f"{_QWEN}.merger.linear_fc1",
                "mm.2": f"{_QWEN}.merger.linear_fc2",
            }
        ),
    ),
}
_PART = re.compile(
    r"(?P<where>blk|v\.blk|v\.deepstack)\.(?P<number>\d+)\.(?P<part>[a-z0-9_]+)(?P<ending>\.weight|\.bias|)"
)
FRAMES = ("v.patch_embd.weight", "v.patch_embd.weight.1")


def sources(family: str, decoder: str, names: Iterable[str], *, swaps_mlp: bool = False) -> dict[str, Source]:
    """Of each tensor of Hugging Face's layout. Names that are not known are left out.

    family: model_type in config.json. decoder: that of its decoder. swaps_mlp: in the tower, as older files do.
    """
    layout = LAYOUTS.get({"smolvlm": "idefics3", "llava_next": "llava"}.get(family, family))
    text = layout.text if layout else "model"
    found = {}
    for name in names:
        if new := _text(name, decoder, text) or (layout and _vision(name, layout, swaps_mlp)):
            found[new] = Source((name,), _change(name, decoder))
    if layout and layout.tower == _QWEN:
        found[f"{_QWEN}.patch_embed.proj.weight"] = Source(FRAMES, "frames apart")
        _number_deepstack(found)
    return found


def _text(name: str, decoder: str, text: str) -> str | None:
    whole = {"token_embd.weight": f"{text}.embed_tokens.weight", "output_norm.weight": f"{text}.norm.weight"}
    whole["output.weight"] = "lm_head.weight"
    match = _PART.fullmatch(name)
    if match is None or match["where"] != "blk":
        return whole.get(name)
    layer = {"gemma3_text": _GEMMA_LAYER, "phi3": _PHI3_LAYER}.get(decoder, _LAYER)
    part = layer.get(match["part"])
    return f"{text}.layers.{match['number']}.{part}{match['ending']}" if part else None


def _vision(name: str, layout: Layout, swaps_mlp: bool) -> str | None:
    match = _PART.fullmatch(name)
    if match is None:
        return layout.others.get(name)
    number, part = match["number"], match["part"]
    if match["where"] == "v.deepstack":
        deep = {"norm": "norm", "fc1": "linear_fc1", "fc2": "linear_fc2"}.get(part)
        return f"{_QWEN}.deepstack_merger_list.{number}.{deep}{match['ending']}" if deep else None
    if swaps_mlp:
        part = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}.get(part, part)
    new = layout.layer.get(part)
    ending = "" if new in ("lambda_1", "lambda_2") else match["ending"]
    return f"{layout.tower}.{layout.layers}.{number}.{new}{ending}" if new else None


def _change(name: str, decoder: str) -> Change:
    if decoder in ("llama", "mistral"):
        if re.fullmatch(r"blk\.\d+\.attn_q\.(weight|bias)", name):
            return "paired rows of queries"
        if re.fullmatch(r"blk\.\d+\.attn_k\.(weight|bias)", name):
            return "paired rows of keys"
    is_norm = name.endswith("norm.weight") and name.startswith(("blk.", "output_", "mm.soft_"))
    return "one added" if decoder == "gemma3_text" and is_norm else ""


def _number_deepstack(found: dict[str, Source]) -> None:
    """Files number these mergers by the layers that they follow, checkpoints one after the other."""
    numbers = sorted({number for name in found for number in _deepstack_number(name)})
    for name in [*found]:
        for number in _deepstack_number(name):
            old, new = f"_list.{number}.", f"_list.{numbers.index(number)}."
            found[name.replace(old, new)] = found.pop(name)


def _deepstack_number(name: str) -> Iterator[int]:
    match = re.search(r"deepstack_merger_list\.(\d+)\.", name)
    if match:
        yield int(match[1])
