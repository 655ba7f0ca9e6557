"""Every picture takes the same tokens. (That the pixels are right is pinned in parity/.)"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from foveal.errors import CheckpointError
from foveal.models.checkpoint import Checkpoint
from foveal.models.family import InvalidImageSize
from foveal.models.gemma3.processor import Gemma3Processor, load
from foveal.types import ImageSpan, Size

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHED = Gemma3Processor(crop_size=896, num_features=256, token_ids=(255_999, 262_144, 256_000))


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (100, 9000)])
def test_256_features_between_two_marks(size: tuple[int, int]) -> None:
    layout = PUBLISHED.layout(Size(*size), "auto")
    placeholder = PUBLISHED.placeholder(layout)

    assert placeholder.token_ids == (255_999, *(262_144,) * 256, 256_000)
    assert placeholder.spans == (ImageSpan(1, 256),)
    assert layout.num_tokens == 258


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(InvalidImageSize, match="no pixels"):
        PUBLISHED.layout(Size(0, 5), "auto")


CONFIG = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}


def checkpoint(folder: Path, **settings: object) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 896}, **settings}))
    return Checkpoint.read(folder)


def test_settings_left_out_are_the_published_ones(tmp_path: Path) -> None:
    assert load(checkpoint(tmp_path, do_pan_and_scan=None)) == PUBLISHED


@pytest.mark.parametrize("name", ["boi_token_index", "eoi_token_index"])
def test_a_mark_beyond_the_vocabulary_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {name: 262_208}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 896}}))

    with pytest.raises(CheckpointError, match=f"{name} is 262208, beyond the vocabulary of 262208 tokens"):
        load(Checkpoint.read(tmp_path))
