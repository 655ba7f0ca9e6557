"""layers/linear/kept.py: quantised matrices come back as they were, and a file that is no good is replaced."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from foveal.layers.linear.kept import KeptMatrices
from foveal.layers.linear.load import Weights, load_embedding, load_linear
from foveal.layers.linear.policy import policy_of
from foveal.layers.linear.quantised import Quantised, QuantisedEmbedding

RANDOM = torch.Generator().manual_seed(7)
TENSORS = {
    "up.weight": torch.randn(8, 64, generator=RANDOM),
    "up.bias": torch.randn(8, generator=RANDOM),
    "words.weight": torch.randn(40, 64, generator=RANDOM),
}
X = torch.randn(3, 64, generator=RANDOM)
ROOM = 1 << 20
DAY_S = 24 * 3600


def start(file: Path, quantization: str = "int8", max_bytes: int = ROOM) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """What a start with that file computes of X, and whether it found all that it needs in the file."""
    kept = KeptMatrices(file, max_bytes)
    weights = Weights(TENSORS, policy_of(quantization), "decoder layers", kept)
    up, words = load_linear(weights, "up"), load_embedding(weights, "words", is_head=True)
    assert isinstance(up, Quantised)
    assert isinstance(words, QuantisedEmbedding)
    found = kept.is_complete
    kept.save()
    return up(X), words(X), found


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_a_second_start_finds_what_the_first_one_rounded(quantization: str, tmp_path: Path) -> None:
    file = tmp_path / "quantised" / "a.safetensors"

    first, second = start(file, quantization), start(file, quantization)

    assert (first[2], second[2]) == (False, True)
    assert torch.equal(second[0], first[0])
    assert torch.equal(second[1], first[1])
    assert [path.name for path in file.parent.iterdir()] == ["a.safetensors"]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def foreign(file: Path) -> None:
    file.write_bytes(b"something else " * 100)


@pytest.mark.parametrize("damage", [cut, empty, foreign])
def test_a_damaged_file_is_written_again(damage: Callable[[Path], None], tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    first = start(file)
    damage(file)

    second, third = start(file), start(file)

    assert (second[2], third[2]) == (False, True)
    assert torch.equal(third[0], first[0])


def test_a_file_that_lacks_a_matrix_is_completed(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    kept = KeptMatrices(file, ROOM)
    load_linear(Weights(TENSORS, policy_of("int8"), kept=kept), "up")
    kept.save()

    second, third = start(file), start(file)

    assert (second[2], third[2]) == (False, True)


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    names = ["old", "older", "new"]
    for age, name in zip((10, 20, 0), names, strict=True):
        start(tmp_path / f"{name}.safetensors")
        os.utime(tmp_path / f"{name}.safetensors", (1e9 - age, 1e9 - age))
    room = 2 * (tmp_path / "new.safetensors").stat().st_size

    start(tmp_path / "older.safetensors", max_bytes=room)  # it is used, so it is the newest now

    assert {path.stem for path in tmp_path.iterdir()} == {"older", "new"}


def test_a_folder_that_cannot_be_written_costs_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")

    start(tmp_path / "file" / "a.safetensors")

    assert "could not be kept" in caplog.text


def test_a_full_disk_costs_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        start(tmp_path / "a.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert "could not be kept" in caplog.text
    assert not [*tmp_path.iterdir()]


def test_what_a_killed_process_has_begun_is_removed_a_day_later(tmp_path: Path) -> None:
    for name, age_s in (("unfinished-old", 2 * DAY_S), ("unfinished-new", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.safetensors").write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)

    start(tmp_path / "a.safetensors")

    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "unfinished-new"}
