"""Each setting of a checkpoint, changed or left out: our answer is the reference's, or the checkpoint is refused.

The small checkpoints' files have every setting that the reference library's classes write. A setting that asks for
other weights than the file has, or that the reference cannot read, has no right answer.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import torch

from foveal.errors import CheckpointError
from foveal.models.registry import load_model
from tests.parity.families import FAMILIES
from tests.parity.toggled import SUBJECTS, Subject, toggles

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = 1e-3
EVERY = 40  # how many settings one of them is tried of, where there is little time
KNOWN = {  # what differs still
    "internvl: config: image_seq_length": "ours has a default, the reference's processor is told",
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", SUBJECTS)
def test_some_settings_change_the_answer_as_in_the_reference(tmp_path: Path, name: str) -> None:
    check(name, tmp_path, EVERY)


@pytest.mark.nightly
@pytest.mark.parametrize("name", SUBJECTS)
def test_every_setting_changes_the_answer_as_in_the_reference(tmp_path: Path, name: str) -> None:
    check(name, tmp_path, 1)


def check(name: str, folder: Path, every: int) -> None:
    (folder / "made").mkdir()
    subject = Subject(name, folder / "made")
    wrong = []
    for i, toggle in enumerate(toggles(subject.files)[SUBJECTS.index(name) % every :: every]):
        if f"{name}: {toggle.place}" in KNOWN:
            continue
        changed = folder / str(i)
        changed.mkdir()
        subject.write(changed, toggle.applied(subject.files))
        if (expected := subject.expected(changed)) is not None:
            with suppress(CheckpointError):
                token_ids, logits = subject.answered(changed)
                if token_ids != expected[0] or not torch.allclose(logits, expected[1], atol=TOLERANCE):
                    wrong.append(str(toggle))

    assert wrong == []


@pytest.mark.parametrize("name", ["llama", "llava"])
def test_the_checkpoint_as_it_is_gives_the_reference_s_answer(tmp_path: Path, name: str) -> None:
    """So that there is something to compare with."""
    (tmp_path / "made").mkdir()
    subject = Subject(name, tmp_path / "made")

    expected, answered = subject.expected(subject.folder), subject.answered(subject.folder)

    assert expected is not None
    assert answered[0] == expected[0]
    torch.testing.assert_close(answered[1], expected[1], atol=TOLERANCE, rtol=0)


def test_layers_whose_features_are_merged_have_to_grow(tmp_path: Path) -> None:
    """The reference merges them in the order of its list, ours in the order of layers."""
    FAMILIES["qwen3_vl"].make(tmp_path, 0)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"]["deepstack_visual_indexes"].reverse()
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(CheckpointError, match="deepstack_visual_indexes has to grow"):
        load_model(tmp_path, torch.device("cpu"), torch.float32)
