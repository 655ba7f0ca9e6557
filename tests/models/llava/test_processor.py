"""How pictures are cut, by the published numbers. (That the pixels are right is pinned in parity/.)"""

from __future__ import annotations

import pytest

from foveal.models.family import InvalidImageSize
from foveal.models.llava.processor import LlavaNextProcessor, LlavaProcessor, unpadded
from foveal.types import Detail, ImageSpan, Size

CANVASES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
LLAVA = LlavaProcessor(crop_size=336, keeps_ratio=True, side=24, has_class_token=False, image_token_id=32000)
NEXT = LlavaNextProcessor(crop_size=336, canvases=CANVASES, side=24, image_token_id=32000)


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (300, 4000)])
def test_llava_takes_576_tokens_for_every_picture(size: tuple[int, int]) -> None:
    layout = LLAVA.layout(Size(*size), "auto")

    assert (layout.num_crops, layout.num_tokens) == (1, 576)
    assert LLAVA.placeholder(layout).spans == (ImageSpan(0, 576),)


@pytest.mark.parametrize(
    ("size", "detail", "grid", "num_tokens"),
    [
        ((672, 672), "auto", (2, 2, 48, 48), 576 + 48 * 49),
        ((640, 480), "auto", (2, 2, 36, 48), 576 + 36 * 49),
        ((1000, 300), "high", (1, 3, 22, 72), 576 + 22 * 73),
        ((640, 480), "low", (0, 0, 0, 0), 577),
    ],
)
def test_llava_next_takes_the_canvas_that_shows_most(
    size: tuple[int, int], detail: Detail, grid: tuple[int, ...], num_tokens: int
) -> None:
    layout = NEXT.layout(Size(*size), detail)

    assert layout.grid == grid
    assert layout.num_crops == grid[0] * grid[1] + 1
    assert layout.num_tokens == num_tokens == len(NEXT.placeholder(layout).token_ids)


@pytest.mark.parametrize(
    ("size", "kept"), [((100, 100), (24, 24)), ((100, 50), (12, 24)), ((100, 53), (12, 24)), ((50, 100), (24, 12))]
)
def test_padding_is_cut_away_alike_on_both_sides(size: tuple[int, int], kept: tuple[int, int]) -> None:
    assert unpadded(Size(*size), 24, 24) == kept


@pytest.mark.parametrize("processor", [LLAVA, NEXT])
@pytest.mark.parametrize(("size", "message"), [((0, 5), "no pixels"), ((1, 201), "at most 200 times")])
def test_odd_sizes_are_refused(
    processor: LlavaProcessor | LlavaNextProcessor, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(InvalidImageSize, match=message):
        processor.layout(Size(*size), "auto")
