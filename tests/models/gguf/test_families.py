"""GGUF files of every family, made of random checkpoints: as exact as the checkpoints that they were made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch

from foveal.errors import CheckpointError
from foveal.layers.linear.policy import policy_of
from foveal.layers.linear.published import Unpacking
from foveal.layers.linear.quantised import Quantised
from foveal.models.family import Model
from foveal.models.gguf.folder import folder_of
from foveal.models.registry import load_model, load_processor
from tests.builders import picture, prepared_prompt
from tests.models.gguf.convert import Kind, in_blocks, in_float32, write_decoder, write_vision
from tests.parity.families import FAMILIES, internvl_family
from tests.parity.naive import NaiveRun
from tests.parity.references import save_tokenizer
from tests.parity.text import text_checkpoint

READ = ("idefics3", "smolvlm", "gemma3", "llava", "llava_next", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl")
WITH_VISION = {name: made for name, made in FAMILIES.items() if name.split(",")[0] in READ and "Granite" not in name}
WITH_VISION["internvl, large tower"] = internvl_family(norm_type="rms_norm", use_qk_norm=True)
if TYPE_CHECKING:
    from foveal.layers.decoder import Decoder
    from foveal.layers.mlp import GatedMLP

DECODERS = (
    "llama",
    "llama with biases",
    "llama with linear rope",
    "llama with yarn",
    "qwen3 with yarn",
    "gemma3_text with yarn",
    "mistral",
    "mistral with a window",
    "qwen2",
    "qwen3",
    "gemma3_text",
    "phi3",
    "phi3 long",
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def loaded(folder: Path, quantization: str = "none") -> Model:
    return load_model(folder, torch.device("cpu"), torch.float32, policy=policy_of(quantization))


def states(model: Model, folder: Path, has_pictures: bool) -> torch.Tensor:
    pictures, segments = ([picture(90, 60)], [[1, 70, 80], [90, 91, 92]]) if has_pictures else ([], [[1, 70, 80, 90]])
    prepared = prepared_prompt(load_processor(folder), segments, pictures)
    run = NaiveRun(model, prepared.prompt, len(prepared.prompt.token_ids) + 2, prepared.pixels)
    return model.decoder.logits(torch.cat([run.prefill(), run.compute([5])]))


def of_files(folder: Path, has_pictures: bool, kind: Kind = in_float32) -> Path:
    model = write_decoder(folder, folder / "tiny.gguf", kind)
    return folder_of(model, write_vision(folder, folder / "mmproj.gguf", kind) if has_pictures else None)


@pytest.mark.parametrize("name", WITH_VISION)
def test_a_model_and_its_vision_part_are_those_of_the_checkpoint(name: str, tmp_path: Path) -> None:
    made = WITH_VISION[name].make(tmp_path, 0)

    folder = of_files(tmp_path, has_pictures=True)

    torch.testing.assert_close(
        states(loaded(folder), folder, True), states(made.ours, tmp_path, True), atol=2e-5, rtol=2e-5
    )


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_is_that_of_the_checkpoint(name: str, tmp_path: Path) -> None:
    made = text_checkpoint(name, tmp_path)
    save_tokenizer(tmp_path, ())

    folder = of_files(tmp_path, has_pictures=False)

    torch.testing.assert_close(
        states(loaded(folder), folder, False), states(made.ours, tmp_path, False), atol=2e-5, rtol=2e-5
    )


@pytest.mark.parametrize("name", ["idefics3", "gemma3", "qwen2_5_vl", "internvl"])
def test_blocks_and_half_precision_are_multiplied_where_they_lie(name: str, tmp_path: Path) -> None:
    WITH_VISION[name].make(tmp_path, 0)
    folder = of_files(tmp_path, True, in_blocks)

    mapped, unpacked = loaded(folder, "published"), loaded(folder)

    torch.testing.assert_close(states(mapped, folder, True), states(unpacked, folder, True), atol=5e-3, rtol=1e-3)
    mlp = cast("GatedMLP", cast("Decoder", mapped.decoder).layers[0].mlp)
    assert isinstance(mlp.down, Unpacking)  # its rows are no whole blocks
    assert isinstance(cast("Decoder", mapped.decoder).layers[0].attention.out, Quantised)


def test_a_vision_part_of_another_model_is_refused(tmp_path: Path) -> None:
    FAMILIES["idefics3"].make(tmp_path / "one", 0)
    model = write_decoder(tmp_path / "one", tmp_path / "tiny.gguf")
    path = write_vision(tmp_path / "one", tmp_path / "mmproj.gguf", width=48)

    with pytest.raises(CheckpointError, match="makes features of 48 numbers, and its model takes 32"):
        folder_of(model, path)


@pytest.mark.parametrize(
    ("setting", "number", "message"),
    [
        ("attention.head_count", 0, "attention.head_count is 0; it must be a whole number from 1"),
        ("attention.head_count", 5, "rope has 8 short and 8 long factors, for heads of 3 pairs"),
        ("attention.head_count_kv", 3, "rows of blk.0.attn_k.weight are not of 3 heads"),
    ],
)
def test_heads_that_the_weights_do_not_have(tmp_path: Path, setting: str, number: int, message: str) -> None:
    save_tokenizer(tmp_path, ())
    text_checkpoint("llama", tmp_path)
    model = write_decoder(tmp_path, tmp_path / "tiny.gguf")
    content, name = bytearray(model.read_bytes()), f"llama.{setting}".encode()
    if setting == "attention.head_count":
        content = content.replace(b"attention.key_length", b"attention.not_length")  # so that it follows from the heads
    place = content.index(len(name).to_bytes(8, "little") + name) + 8 + len(name) + 4  # behind the name and its type
    content[place : place + 4] = number.to_bytes(4, "little")
    model.write_bytes(content)

    with pytest.raises(CheckpointError, match=message):
        loaded(folder_of(model))


def test_a_model_is_no_vision_part_and_a_vision_part_no_model(tmp_path: Path) -> None:
    FAMILIES["idefics3"].make(tmp_path, 0)
    model, vision = write_decoder(tmp_path, tmp_path / "tiny.gguf"), write_vision(tmp_path, tmp_path / "mmproj.gguf")

    with pytest.raises(CheckpointError, match="the architecture 'clip'; these can be served: llama"):
        folder_of(vision)
    with pytest.raises(CheckpointError, match="the projector 'None'; these can be served: idefics3"):
        folder_of(model, model)
