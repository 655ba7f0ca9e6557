"""models/gguf/folder: made once for a file, and kept as long as it is among those that were used last."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import gguf
import pytest

from foveal.models import made as kept
from foveal.models.checkpoint import Checkpoint
from foveal.models.gguf.folder import folder_of
from tests.models.gguf.convert import in_blocks, write_decoder
from tests.parity.references import save_tokenizer
from tests.parity.text import text_checkpoint


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text_checkpoint("llama", tmp_path)
    save_tokenizer(tmp_path, ())
    return write_decoder(tmp_path, tmp_path / "tiny.gguf")


def copy(file: Path, name: str) -> Path:
    return Path(shutil.copy(file, file.with_name(f"{name}.gguf")))


def used_hours_ago(made: Path, hours: float) -> Path:
    os.utime(made, (time.time() - 3600 * hours,) * 2)
    return made


def test_it_is_made_once_and_again_for_another_file(file: Path, tmp_path: Path) -> None:
    first, again = folder_of(file), folder_of(file)
    write_decoder(tmp_path, file, in_blocks)

    assert first == again != folder_of(file)


def test_it_says_which_type_most_of_the_file_has_and_how_many_bits_a_weight_takes(file: Path, tmp_path: Path) -> None:
    in_float32, mixed = Checkpoint.read(folder_of(file)), write_decoder(tmp_path, tmp_path / "mixed.gguf", in_blocks)

    assert in_float32.weight_format == "gguf F32 32.0 bits"
    assert Checkpoint.read(folder_of(mixed)).weight_format == f"gguf Q8_0 {bits_of(mixed)} bits"


def bits_of(file: Path) -> float:
    """As the gguf package counts."""
    tensors = gguf.GGUFReader(file).tensors
    return float(round(8 * sum(t.n_bytes for t in tensors) / sum(t.n_elements for t in tensors), 1))


def test_folders_that_were_used_longest_ago_are_deleted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_FOLDERS", 2)
    one, two = (copy(file, name) for name in ("one", "two"))
    longest_ago, before = used_hours_ago(folder_of(one), 9), used_hours_ago(folder_of(two), 8)
    assert folder_of(one) == longest_ago  # and it was used just now

    made = folder_of(file)

    assert sorted(made.parent.iterdir()) == sorted([longest_ago, made])
    assert not before.exists()


def test_what_was_never_finished_is_deleted_unless_it_may_be_in_the_making(file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "foveal" / "gguf"
    left, in_the_making, half = (cache / name for name in ("unfinished-old", "unfinished-new", "deleted-half"))
    for path in (left, in_the_making, half):
        path.mkdir(parents=True)
        (path / "tokenizer.json").touch()
    used_hours_ago(left, 2)

    made = folder_of(file)

    assert sorted(cache.iterdir()) == sorted([made, in_the_making])
