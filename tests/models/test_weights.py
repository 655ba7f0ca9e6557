"""Tensors come from the files by name, in place where they can, and what is missing is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from foveal.errors import CheckpointError
from foveal.models.weights import CheckpointTensors

CPU = torch.device("cpu")
UP, DOWN = torch.arange(6.0).reshape(2, 3), torch.tensor([1.0, 2.5])


def opened(folder: Path, dtype: torch.dtype = torch.float32) -> CheckpointTensors:
    return CheckpointTensors(folder, CPU, dtype, on_progress=lambda share: None)


def single(folder: Path) -> Path:
    save_file({"up": UP, "down": DOWN}, folder / "model.safetensors")
    return folder


def sharded(folder: Path) -> Path:
    weight_map = {"up": "model-00001-of-00002.safetensors", "down": "model-00002-of-00002.safetensors"}
    for name, tensor in {"up": UP, "down": DOWN}.items():
        save_file({name: tensor}, folder / weight_map[name])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def without_an_index(folder: Path) -> Path:
    (sharded(folder) / "model.safetensors.index.json").unlink()
    return folder


@pytest.mark.parametrize("layout", [single, sharded, without_an_index])
def test_tensors_are_found_by_name(tmp_path: Path, layout: Callable[[Path], Path]) -> None:
    tensors = opened(layout(tmp_path))

    assert set(tensors) == {"up", "down"}
    assert torch.equal(tensors["up"], UP)
    assert torch.equal(tensors["down"], DOWN)


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_floating_point_tensors_get_the_wanted_dtype(tmp_path: Path, stored: torch.dtype, wanted: torch.dtype) -> None:
    save_file({"up": UP.to(stored), "steps": torch.tensor([3])}, tmp_path / "model.safetensors")

    tensors = opened(tmp_path, wanted)

    assert tensors["up"].dtype == wanted
    assert torch.equal(tensors["up"].float(), UP)
    assert tensors["steps"].dtype == torch.int64


def test_a_tensor_stays_in_the_mapped_file(tmp_path: Path) -> None:
    tensor = opened(single(tmp_path))["up"]

    assert mapped_file(tensor.data_ptr()) == str(tmp_path / "model.safetensors")


def mapped_file(address: int) -> str:
    """The file behind an address of this process; empty for anonymous memory."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if begin <= address < end:
            return line.split(maxsplit=5)[5] if len(line.split()) > 5 else ""
    return ""


def test_progress_ends_at_one_when_all_is_read(tmp_path: Path) -> None:
    shares: list[float] = []
    tensors = CheckpointTensors(single(tmp_path), CPU, torch.float32, shares.append)

    _ = tensors["up"], tensors["down"]

    assert shares == [0.5, 1.0]


def test_unread_tensors_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tensors = opened(single(tmp_path))
    _ = tensors["up"]

    with caplog.at_level("DEBUG"):
        tensors.note_unread()

    assert "1 tensors are not used, such as down" in caplog.text


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no tensor 'left'"):
        opened(single(tmp_path))["left"]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    (sharded(tmp_path) / "model-00002-of-00002.safetensors").unlink()

    with pytest.raises(CheckpointError, match=r"lacks 1 of 2 weight files: model-00002-of-00002\.safetensors"):
        opened(tmp_path)


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")

    with pytest.raises(CheckpointError, match="never loaded: convert them to safetensors"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)

    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        opened(tmp_path)


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    file = single(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])

    with pytest.raises(CheckpointError, match="cut off"):
        opened(tmp_path)
