"""What is read from the JSON files of a checkpoint, and the errors for what is missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from foveal.errors import CheckpointError
from foveal.models.checkpoint import Checkpoint
from tests.builders import tiny_phi3_v

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, config: dict[str, Any], **files: dict[str, Any]) -> Path:
    for name, content in {"config": config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_a_folder_is_read_as_it_is(tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(tiny_phi3_v(tmp_path))

    assert checkpoint.model_type == "phi3_v"
    assert checkpoint.context_length == 1024
    assert checkpoint.vocab_size == 265
    assert checkpoint.dtype == "float32"
    assert checkpoint.preprocessor_config["num_crops"] == 4
    assert checkpoint.added_token_id("<|image|>") == 264
    assert checkpoint.added_token_id("<|video|>") is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"quantization_config": {"quant_method": "fp8"}}, "fp8"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "awq 4 bits"),
        (
            {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"}},
            "compressed-tensors pack-quantized",
        ),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, "modelopt NVFP4"),
    ],
)
def test_the_format_of_the_weights_has_words(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert Checkpoint.read(written(tmp_path, {"model_type": "phi3_v", **settings})).weight_format == words


def test_files_that_are_not_there_are_empty(tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(written(tmp_path, {"model_type": "phi3_v"}))

    assert checkpoint.generation_config == {}
    assert checkpoint.preprocessor_config == {}
    assert checkpoint.added_token_id("<|image|>") is None


def test_newer_families_keep_the_decoder_in_a_part_of_its_own(tmp_path: Path) -> None:
    decoder = {"max_position_embeddings": 64, "vocab_size": 9, "dtype": "bfloat16", "eos_token_id": 7}
    checkpoint = Checkpoint.read(written(tmp_path, {"model_type": "x", "text_config": decoder}))

    assert checkpoint.context_length == 64
    assert checkpoint.vocab_size == 9
    assert checkpoint.dtype == "bfloat16"
    assert checkpoint.eos_token_ids == (7,)


@pytest.mark.parametrize(
    ("generation_config", "config", "eos_token_ids"),
    [
        ({}, {}, ()),
        ({}, {"eos_token_id": 2}, (2,)),
        ({"eos_token_id": [32000, 32007]}, {"eos_token_id": 2}, (32000, 32007, 2)),
        ({"eos_token_id": 2}, {"eos_token_id": 2}, (2,)),
        ({"eos_token_id": None}, {"eos_token_id": [1, 2]}, (1, 2)),
    ],
)
def test_every_end_token_that_the_files_name_ends_an_answer(
    tmp_path: Path, generation_config: dict[str, Any], config: dict[str, Any], eos_token_ids: tuple[int, ...]
) -> None:
    checkpoint = Checkpoint.read(written(tmp_path, config, generation_config=generation_config))

    assert checkpoint.eos_token_ids == eos_token_ids


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no config.json: give the folder that has it"),
        ("{", "is not valid JSON"),
        ("[]", "holds no JSON object"),
    ],
)
def test_a_folder_that_cannot_be_served_says_why(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)

    with pytest.raises(CheckpointError, match=message):
        Checkpoint.read(tmp_path)


def test_image_settings_are_found_in_their_newer_place(tmp_path: Path) -> None:
    written(tmp_path, {})
    newer = {"image_processor": {"size": {"height": 5}}, "processor_class": "P"}
    (tmp_path / "processor_config.json").write_text(json.dumps(newer))

    assert Checkpoint.read(tmp_path).preprocessor_config == {"size": {"height": 5}}


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(written(tmp_path, {"text_config": {}}))

    with pytest.raises(CheckpointError, match="'max_position_embeddings'"):
        _ = checkpoint.context_length


def test_the_fingerprint_changes_with_the_model(tmp_path: Path) -> None:
    first = Checkpoint.read(tiny_phi3_v(tmp_path / "a"))
    fewer_crops = Checkpoint.read(tiny_phi3_v(tmp_path / "b", num_crops=1))

    assert first.fingerprint == Checkpoint.read(tmp_path / "a").fingerprint
    assert first.fingerprint != fewer_crops.fingerprint


def test_the_bytes_of_all_weight_files_count(tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(tiny_phi3_v(tmp_path))
    before = checkpoint.weight_bytes

    (tmp_path / "model-of-another-shard.safetensors").write_bytes(bytes(1000))

    assert before > 0
    assert checkpoint.weight_bytes == before + 1000
