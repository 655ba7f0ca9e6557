"""docs/vision.md says how many tokens a picture takes as the models' processors count them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from foveal.models.qwen2_vl.processor import blocks
from foveal.types import Size

PAGE = (Path(__file__).parents[1] / "docs" / "vision.md").read_text("utf-8")
MIN_PIXELS, MAX_PIXELS = 56 * 56, 16384 * 28 * 28  # wide bounds, as the checkpoints publish them


@pytest.mark.parametrize(("models", "side"), [("Qwen2-VL, Qwen2.5-VL", 28), ("Qwen3-VL, Qwen3.5", 32)])
def test_tokens_of_a_size_are_the_blocks_of_the_processor(models: str, side: int) -> None:
    row = re.search(rf"^\| {re.escape(models)} \| ([\d,]+) \| ([\d,]+) \|", PAGE, re.MULTILINE)
    assert row is not None
    counted = []
    for length in (512, 1024):
        rows, columns = blocks(Size(length, length), side, MIN_PIXELS, MAX_PIXELS)
        counted.append(f"{rows * columns:,}")
    assert list(row.groups()) == counted
