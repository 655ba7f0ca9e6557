"""A picture takes the reference's number of tokens, within its budget. (That the pixels are right is in parity/.)"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size

from foveal.errors import CheckpointError
from foveal.models.checkpoint import Checkpoint
from foveal.models.family import InvalidImageSize
from foveal.models.gemma4.processor import BUDGETS, Gemma4Processor, load
from foveal.types import ImageSpan, Size

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.types import Detail

PUBLISHED = Gemma4Processor(patch_size=16, pool=3, budget=280, token_ids=(255_999, 258_880, 258_882))
SIZES = [(1, 1), (1, 2000), (2000, 1), (48, 48), (640, 480), (1000, 30), (30, 1000), (4000, 3000), (777, 1333)]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_cut_into_the_squares_of_the_reference(size: tuple[int, int], budget: int) -> None:
    height, width = get_aspect_ratio_preserving_size(size[1], size[0], 16, budget * 9, 3)

    layout = PUBLISHED.layout(Size(*size), budget)

    assert layout.pixel_shape == (height, width, 3)
    assert layout.num_tokens == height // 48 * (width // 48) + 2 <= budget + 2


@pytest.mark.parametrize(
    ("detail", "num_tokens"), [("low", 7 * 9), ("auto", 14 * 19), ("high", 28 * 38), (560, 20 * 27)]
)
def test_detail_or_a_number_chooses_the_budget(detail: Detail, num_tokens: int) -> None:
    placeholder = PUBLISHED.placeholder(PUBLISHED.layout(Size(640, 480), detail))

    assert placeholder.token_ids == (255_999, *(258_880,) * num_tokens, 258_882)
    assert placeholder.spans == (ImageSpan(1, num_tokens),)


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(InvalidImageSize, match="no pixels"):
        PUBLISHED.layout(Size(0, 5), "auto")


def checkpoint(folder: Path, **settings: object) -> Checkpoint:
    config = {"model_type": "gemma4", "text_config": {}, "vision_config": {}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return Checkpoint.read(folder)


def test_settings_left_out_are_the_published_ones(tmp_path: Path) -> None:
    assert load(checkpoint(tmp_path)) == PUBLISHED


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [("max_soft_tokens", 300, "must be one of"), ("patch_size", 14, "but 16"), ("pooling_kernel_size", 2, "but 3")],
)
def test_settings_that_the_model_cannot_have_are_refused(tmp_path: Path, name: str, value: int, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} is {value}.*{sentence}"):
        load(checkpoint(tmp_path, **{name: value}))
