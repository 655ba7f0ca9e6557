"""Checkpoints are untrusted: whatever their files hold, the answer is a sentence that names the file."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest
import torch

from foveal.errors import CheckpointError
from foveal.models.checkpoint import MAX_JSON_BYTES, Checkpoint
from foveal.models.weights import MAX_HEADER_BYTES, CheckpointTensors
from tests.builders import tiny_phi3_v

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def opened(folder: Path) -> CheckpointTensors:
    return CheckpointTensors(folder, CPU, torch.float32, on_progress=lambda share: None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested more than 16 levels deep"),
        ('{"a": ' + "9" * 5000 + "}", "is not valid JSON"),
        ('{"a": "' + "x" * MAX_JSON_BYTES + '"}', "is larger than 4 MiB"),
    ],
)
@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "preprocessor_config.json"])
def test_a_file_that_is_no_models_settings_is_refused(tmp_path: Path, text: str, message: str, file: str) -> None:
    (tiny_phi3_v(tmp_path) / file).write_text(text)

    with pytest.raises(CheckpointError, match=rf"{file}.*{message}"):
        Checkpoint.read(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": ["llama"]}, "model_type is a list of 1; it must be text"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000; it must be a whole number from 1 to 1024"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True; it must be a whole number"),
        ({"text_config": {"vocab_size": 10**12}}, r"text_config\.vocab_size is 1000000000000; it must be a whole"),
        ({"text_config": {"text_config": {"hidden_size": -1}}}, r"text_config\.text_config\.hidden_size is -1"),
        ({"text_config": "llama"}, "text_config is 'llama'; it must be an object"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan; it must be a number"),
        ({"rope_theta": float("inf")}, "rope_theta is inf; it must be a number"),
        ({"eos_token_id": [[2]]}, "eos_token_id is a list of 1; it must be"),
        ({"image_size": "x" * 1000}, "image_size is 'xxx"),
    ],
)
def test_a_setting_out_of_its_bounds_is_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))

    with pytest.raises(CheckpointError, match=rf"config\.json: {message}") as refused:
        Checkpoint.read(tmp_path)

    assert len(str(refused.value).removeprefix(str(tmp_path))) < 250


def test_settings_of_pictures_are_named_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "preprocessor_config.json").write_text('{"size": 336}')

    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: size is 336; it must be an object"):
        Checkpoint.read(tmp_path)


def test_a_missing_setting_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "x", "vision_config": {}}')
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"width": 1}}')
    checkpoint = Checkpoint.read(tmp_path)

    with pytest.raises(CheckpointError, match=r"size in .*preprocessor_config\.json has no 'height'"):
        _ = checkpoint.preprocessor_config["size"]["height"]
    with pytest.raises(CheckpointError, match=r"vision_config in .*/config\.json has no 'patch_size'"):
        _ = checkpoint.vision_config["patch_size"]


@pytest.mark.parametrize("file", ["../model.safetensors", "/etc/passwd", "sub/a.safetensors", "a.bin", "", 7, ["a"]])
def test_an_index_names_only_files_beside_it(tmp_path: Path, file: Any) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"up": file}}))

    with pytest.raises(CheckpointError, match=r"index\.json names .*, which is no safetensors file beside it"):
        opened(tmp_path)


@pytest.mark.parametrize("weight_map", [None, [], "model.safetensors", 5])
def test_an_index_without_a_table_is_refused(tmp_path: Path, weight_map: Any) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    with pytest.raises(CheckpointError, match=r"index\.json"):
        opened(tmp_path)


def test_a_header_that_claims_too_much_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{")

    with pytest.raises(CheckpointError, match="its header claims more than 16 MiB"):
        opened(tmp_path)


def test_added_tokens_that_are_none_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text('{"added_tokens": [7, {"id": 1}, {"id": 5, "content": "<image>"}]}')

    assert Checkpoint.read(tmp_path).added_token_id("<image>") == 5
