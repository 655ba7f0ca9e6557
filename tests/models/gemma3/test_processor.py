"""Every picture takes the same tokens. (That the pixels are right is pinned in parity/.)"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

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


def checkpoint(folder: Path, **settings: object) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3"}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 896}, **settings}))
    return Checkpoint.read(folder)


def test_settings_left_out_are_the_published_ones(tmp_path: Path) -> None:
    assert load(checkpoint(tmp_path, do_pan_and_scan=None)) == PUBLISHED
