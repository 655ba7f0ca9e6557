"""How pictures are cut into blocks, by the published numbers. (That the pixels are right is pinned in parity/.)"""

from __future__ import annotations

import pytest

from foveal.models.family import InvalidImageSize
from foveal.models.qwen2_vl.processor import Qwen2VLProcessor
from foveal.types import Detail, ImageSpan, Size

QWEN2 = Qwen2VLProcessor(patch_size=14, merge_size=2, min_pixels=3136, max_pixels=12845056, image_token_id=151655)
QWEN3 = Qwen2VLProcessor(patch_size=16, merge_size=2, min_pixels=65536, max_pixels=16777216, image_token_id=151655)


@pytest.mark.parametrize(
    ("processor", "size", "detail", "grid"),
    [
        (QWEN2, (640, 480), "auto", (17, 23)),
        (QWEN3, (640, 480), "auto", (15, 20)),
        (QWEN2, (512, 512), "high", (18, 18)),
        (QWEN2, (1, 1), "auto", (2, 2)),
        (QWEN2, (20000, 10000), "auto", (90, 181)),
        (QWEN2, (2000, 2000), "low", (16, 16)),
    ],
)
def test_token_counts(
    processor: Qwen2VLProcessor, size: tuple[int, int], detail: Detail, grid: tuple[int, int]
) -> None:
    layout = processor.layout(Size(*size), detail)

    assert layout.grid == grid
    assert layout.num_tokens == grid[0] * grid[1]
    assert processor.placeholder(layout).spans == (ImageSpan(0, layout.num_tokens),)


@pytest.mark.parametrize("size", [(201, 1), (1, 201)])
def test_narrow_pictures_are_refused_with_the_limit(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidImageSize, match="at most 200 times"):
        QWEN2.layout(Size(*size), "auto")


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(InvalidImageSize, match="no pixels"):
        QWEN2.layout(Size(0, 5), "auto")


def test_a_larger_picture_is_more_units_of_work() -> None:
    assert [QWEN2.layout(Size(side, side), "auto").num_crops for side in (100, 336, 1344)] == [1, 1, 16]
