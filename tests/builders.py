"""Builders of what several test folders need: tiny checkpoints in the published layouts, pictures, prompts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from foveal.types import Image as PreparedImage
from foveal.types import ImageSpan, PixelRef, Prompt, PromptImage, Size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.models.family import Processor

PHI3_SPECIAL_TOKENS = ("<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>", "<|image|>")


def tiny_phi3_v(folder: Path, seed: int = 0, *, crop_size: int = 28, num_crops: int = 4, **overrides: object) -> Path:
    """Write a random Phi-3-vision checkpoint of some 50,000 weights with a byte-level tokenizer; returns `folder`.

    `overrides` replace keys of config.json. Vocabulary: `<unk>`, `<s>`, `</s>`, the 256 bytes, the special tokens of
    Phi-3 (PHI3_SPECIAL_TOKENS). The long rope factors begin past 256 positions; the context is 1024.
    """
    tokenizer = byte_tokenizer(PHI3_SPECIAL_TOKENS)
    config = _phi3_v_config(crop_size, tokenizer.get_vocab_size()) | overrides
    special = tokenizer.token_to_id
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "<|endoftext|>"})
    _write_json(
        folder / "generation_config.json",
        {"bos_token_id": 1, "eos_token_id": [special("<|endoftext|>"), special("<|end|>")]},
    )
    _write_json(
        folder / "preprocessor_config.json",
        {
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "num_crops": num_crops,
        },
    )
    save_file(_random_weights(phi3_v_shapes(config), seed), folder / "model.safetensors", {"format": "pt"})
    return folder


def tiny_llama(folder: Path, seed: int = 0) -> Path:
    """Write a random Llama checkpoint without vision, with a byte-level tokenizer; returns `folder`."""
    tokenizer = byte_tokenizer(("<|eot_id|>",))
    vocab_size = tokenizer.get_vocab_size()
    config = {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocab_size,
        "max_position_embeddings": 512,
        "eos_token_id": 2,
    }
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "config.json", config)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocab_size, 32),
        "model.norm.weight": (32,),
        "lm_head.weight": (vocab_size, 32),
    }
    for i in range(2):
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in _LLAMA_LAYER.items()}
    save_file(_random_weights(shapes, seed), folder / "model.safetensors", {"format": "pt"})
    return folder


_LLAMA_LAYER: dict[str, tuple[int, ...]] = {
    "input_layernorm": (32,),
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (16, 32),
    "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32),
    "post_attention_layernorm": (32,),
    "mlp.gate_proj": (48, 32),
    "mlp.up_proj": (48, 32),
    "mlp.down_proj": (32, 48),
}


def byte_tokenizer(special_tokens: tuple[str, ...]) -> Tokenizer:
    """A token a byte, `<s>` before every text. Ids: `<unk>`, `<s>`, `</s>`, the 256 bytes, the special ones."""
    symbols = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(symbols)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ("<unk>", "<s>", "</s>", *special_tokens)
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB picture of coarse coloured blocks: survives resizing with its differences intact."""
    blocks = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)


@dataclass(frozen=True)
class PreparedPrompt:
    """A prompt and the pixels of its images, for tests that drive a model without an arena."""

    prompt: Prompt
    pixels: tuple[NDArray[np.uint8], ...]


def prepared_prompt(
    processor: Processor | None, segments: Sequence[Sequence[int]], pictures: Sequence[Image.Image]
) -> PreparedPrompt:
    """Token ids and pictures in turn: segment, picture, segment, ... The images' PixelRefs point nowhere."""
    token_ids, images, pixels = list(segments[0]), [], []
    for picture, segment in zip(pictures, segments[1:], strict=True):
        assert processor is not None
        layout = processor.layout(Size(*picture.size), "auto")
        placeholder = processor.placeholder(layout)
        pixels.append(processor.prepare(picture, layout))
        image = PreparedImage(sha256(pixels[-1].tobytes()).digest(), PixelRef(0, layout.pixel_shape), layout)
        spans = tuple(ImageSpan(len(token_ids) + span.offset, span.length) for span in placeholder.spans)
        images.append(PromptImage(image, spans))
        token_ids += [*placeholder.token_ids, *segment]
    return PreparedPrompt(Prompt(tuple(token_ids), tuple(images)), tuple(pixels))


def _phi3_v_config(crop_size: int, vocab_size: int) -> dict[str, Any]:
    return {
        "model_type": "phi3_v",
        "architectures": ["Phi3VForCausalLM"],
        "img_processor": {
            "image_dim_out": 16,
            "vision_config": {
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "image_size": crop_size,
                "patch_size": 14,
                "hidden_act": "quick_gelu",
                "layer_norm_eps": 1e-5,
            },
        },
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocab_size,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "type": "su",
            "short_factor": [1.0, 1.1, 1.2, 1.3],
            "long_factor": [1.5, 3.0, 4.5, 6.0],
        },
        "max_position_embeddings": 1024,
        "original_max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def phi3_v_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes of the published layout."""
    width, mlp = config["hidden_size"], config["intermediate_size"]
    head_dim = width // config["num_attention_heads"]
    qkv = (config["num_attention_heads"] + 2 * config["num_key_value_heads"]) * head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], width),
        "model.norm.weight": (width,),
        "lm_head.weight": (config["vocab_size"], width),
    }
    for i in range(config["num_hidden_layers"]):
        shapes |= {
            f"model.layers.{i}.input_layernorm.weight": (width,),
            f"model.layers.{i}.self_attn.qkv_proj.weight": (qkv, width),
            f"model.layers.{i}.self_attn.o_proj.weight": (width, width),
            f"model.layers.{i}.post_attention_layernorm.weight": (width,),
            f"model.layers.{i}.mlp.gate_up_proj.weight": (2 * mlp, width),
            f"model.layers.{i}.mlp.down_proj.weight": (width, mlp),
        }
    vision = config["img_processor"]["vision_config"]
    joined = 4 * vision["hidden_size"]
    return shapes | {
        "model.vision_embed_tokens.glb_GN": (1, 1, joined),
        "model.vision_embed_tokens.sub_GN": (1, 1, 1, joined),
        "model.vision_embed_tokens.img_projection.0.weight": (width, joined),
        "model.vision_embed_tokens.img_projection.0.bias": (width,),
        "model.vision_embed_tokens.img_projection.2.weight": (width, width),
        "model.vision_embed_tokens.img_projection.2.bias": (width,),
        **_clip_shapes("model.vision_embed_tokens.img_processor.vision_model.", vision),
    }


def _clip_shapes(prefix: str, vision: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    width, mlp, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    linear = {f"self_attn.{name}": (width, width) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
    linear |= {"mlp.fc1": (mlp, width), "mlp.fc2": (width, mlp)}
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "embeddings.position_embedding.weight": ((vision["image_size"] // patch) ** 2 + 1, width),
    }
    norms = ["pre_layrnorm", "post_layernorm"]
    for i in range(vision["num_hidden_layers"]):
        norms += [f"encoder.layers.{i}.layer_norm1", f"encoder.layers.{i}.layer_norm2"]
        for name, shape in linear.items():
            shapes[f"encoder.layers.{i}.{name}.weight"] = shape
            shapes[f"encoder.layers.{i}.{name}.bias"] = shape[:1]
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return {prefix + name: shape for name, shape in shapes.items()}


def _random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, NDArray[np.float32]]:
    """Scales at which every input still moves the output: norms about 1, matrices by their fan-in, the rest about 1."""
    generator = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        values = generator.standard_normal(shape, dtype=np.float32)
        if "norm" in name or "layrnorm" in name:
            return 0.1 * values + np.float32(name.endswith("weight"))
        if len(shape) == 1 or "embed_tokens.weight" in name or "_GN" in name:
            return values
        return values / np.float32(np.sqrt(np.prod(shape[1:])))

    return {name: draw(name, shape) for name, shape in shapes.items()}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1))
