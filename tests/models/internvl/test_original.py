"""InternVL as its authors publish it: the same answers as from the layout of the transformers library."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

from foveal.conversation.tokenizer import Tokenizer
from foveal.errors import CheckpointError
from foveal.models.hub import local_folder
from foveal.models.registry import load_model, load_processor
from foveal.types import Size
from tests.builders import picture, prepared_prompt
from tests.parity.families import internvl_family
from tests.parity.naive import NaiveRun

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.models.family import Model

CPU = torch.device("cpu")
TOWERS: dict[str, dict[str, Any]] = {
    "small": {"attention_bias": True},
    "large": {"norm_type": "rms_norm", "use_qk_norm": True},
}
THEIRS = (  # the library's names -> the authors', as its converter has them the other way round
    (r"vision_tower\.embeddings\.cls_token", "vision_model.embeddings.class_embedding"),
    (r"vision_tower\.embeddings\.patch_embeddings\.projection", "vision_model.embeddings.patch_embedding"),
    (r"vision_tower\.embeddings\.position_embeddings", "vision_model.embeddings.position_embedding"),
    (r"vision_tower\.encoder\.layer\.", "vision_model.encoder.layers."),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"lambda_", "ls"),
    (r"attention\.projection_layer", "attn.proj"),
    (r"\.attention\.", ".attn."),
    (r"multi_modal_projector\.layer_norm", "mlp1.0"),
    (r"multi_modal_projector\.linear_1", "mlp1.1"),
    (r"multi_modal_projector\.linear_2", "mlp1.3"),
    (r"^model\.(language_model|vision_model|mlp1)", r"\1"),
    (r"^language_model\.(?!model|lm_head)", "language_model.model."),
    (r"^lm_head", "language_model.lm_head"),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def original(folder: Path, **changed: Any) -> Path:
    """The checkpoint in `folder`, made by the library, as the authors would publish it."""
    found = folder / "original"
    found.mkdir()
    config = json.loads((folder / "config.json").read_text())
    pictures = json.loads((folder / "preprocessor_config.json").read_text())
    vision = config["vision_config"]
    written = {
        "model_type": "internvl_chat",
        "llm_config": config["text_config"],
        "vision_config": {
            **{name: vision[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "norm_type")},
            "model_type": "intern_vit_6b",
            "num_attention_heads": vision["num_attention_heads"],
            "layer_norm_eps": vision["layer_norm_eps"],
            "hidden_act": vision["hidden_act"],
            "image_size": vision["image_size"][0],
            "patch_size": vision["patch_size"][0],
            "qk_normalization": vision["use_qk_norm"],
            "qkv_bias": vision["attention_bias"],
        },
        **{"force_image_size": 24, "downsample_ratio": 0.5, "select_layer": -1, "ps_version": "v2"},
        **{"dynamic_image_size": True, "use_thumbnail": True, "min_dynamic_patch": 1, "max_dynamic_patch": 6},
        **changed,
    }
    (found / "config.json").write_text(json.dumps(written))
    means = {name: pictures[name] for name in ("image_mean", "image_std")}
    (found / "preprocessor_config.json").write_text(json.dumps({**means, "image_processor_type": "CLIPImageProcessor"}))
    (found / "tokenizer.json").symlink_to(folder / "tokenizer.json")
    save_file(theirs(load_file(folder / "model.safetensors")), found / "model.safetensors")
    return found


def theirs(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Under the authors' names, queries, keys and values of the tower in one matrix."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, replacement in THEIRS:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    for name in [name for name in found if ".attn.q_proj." in name]:
        parts = [found.pop(name.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
        found[name.replace("q_proj", "qkv")] = torch.cat(parts)
    return found


def states(model: Model, folder: Path) -> torch.Tensor:
    prepared = prepared_prompt(load_processor(folder), [[1, 70, 80], [90, 91, 92]], [picture(90, 60)])
    run = NaiveRun(model, prepared.prompt, len(prepared.prompt.token_ids) + 2, prepared.pixels)
    return model.decoder.logits(run.prefill())


@pytest.mark.parametrize("tower", TOWERS)
def test_the_answers_are_those_of_the_library_s_layout(tmp_path: Path, tower: str) -> None:
    made = internvl_family(**TOWERS[tower]).make(tmp_path, 0)

    folder = local_folder(str(original(tmp_path)))

    model = load_model(folder, CPU, torch.float32)
    torch.testing.assert_close(states(model, folder), states(made.ours, tmp_path), atol=1e-5, rtol=1e-5)


def test_pictures_take_the_tiles_that_the_settings_allow(tmp_path: Path) -> None:
    internvl_family().make(tmp_path, 0)

    processor = load_processor(local_folder(str(original(tmp_path, max_dynamic_patch=2))))

    assert processor is not None
    assert processor.layout(Size(96, 24), "auto").grid == (1, 2)


@pytest.mark.parametrize(
    ("name", "value"), [("ps_version", "v1"), ("select_layer", -2), ("pad2square", True), ("use_thumbnail", False)]
)
def test_what_is_not_implemented_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    internvl_family().make(tmp_path, 0)

    with pytest.raises(CheckpointError, match=f"{name} is .* is implemented"):
        local_folder(str(original(tmp_path, **{name: value})))


def test_a_decoder_of_another_kind_is_refused(tmp_path: Path) -> None:
    internvl_family().make(tmp_path, 0)
    folder = local_folder(str(original(tmp_path, llm_config={"model_type": "internlm2", "hidden_size": 32})))

    with pytest.raises(CheckpointError, match="model_type is 'internlm2'"):
        load_processor(folder)


TEXTS = (
    "Hello, world!",
    "It's 12345 km\u00b2",
    "  two  spaces\n\n\tand\ttabs ",
    "na\u00efve caf\u00e9 \u4f60\u597d \U0001f642",
    "<img></img>x<|im_end|>",
)


def test_older_files_of_qwens_tokenizer_are_read_as_the_library_reads_them(tmp_path: Path) -> None:
    internvl_family().make(tmp_path, 0)
    folder = original(tmp_path)
    (folder / "tokenizer.json").unlink()
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator([*TEXTS[:4], "the shape in the picture is round and red"] * 9, vocab_size=330)
    trained.save_model(str(folder))
    vocab = json.loads((folder / "vocab.json").read_text())
    added: dict[str, dict[str, Any]] = {
        str(len(vocab) + i): {"content": text, "special": True, "normalized": False, "lstrip": False}
        | {"rstrip": False, "single_word": False}
        for i, text in enumerate(("<|endoftext|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"))
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    library = transformers.Qwen2Tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    library.add_tokens([tokenizers.AddedToken(**token) for token in added.values()])

    made = tokenizers.Tokenizer.from_file(str(local_folder(str(folder)) / "tokenizer.json"))

    assert Tokenizer(made).vocab_size == len(vocab) + len(added)
    for text in TEXTS:
        assert made.encode(text).ids == library.encode(text)
        assert made.decode(made.encode(text).ids, skip_special_tokens=False) == text
