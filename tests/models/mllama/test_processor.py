"""How pictures are fitted into tiles, by the published numbers. (That the pixels are right is pinned in parity/.)"""

from __future__ import annotations

import pytest

from foveal.models.family import InvalidImageSize
from foveal.models.mllama.processor import MllamaProcessor, tile_grids
from foveal.types import Detail, ImageSpan, Size
from tests.builders import picture

PUBLISHED = MllamaProcessor(tile_size=560, max_num_tiles=4, num_states=1601, image_token_id=128256)


@pytest.mark.parametrize(
    ("size", "detail", "grid"),
    [
        ((1, 1), "auto", (1, 1)),
        ((560, 560), "auto", (1, 1)),
        ((561, 560), "auto", (1, 2)),
        ((640, 480), "high", (1, 2)),
        ((1000, 1000), "auto", (2, 2)),
        ((5000, 5000), "auto", (2, 2)),
        ((3000, 500), "auto", (1, 4)),
        ((500, 3000), "auto", (4, 1)),
        ((5000, 5000), "low", (1, 1)),
    ],
)
def test_the_canvas_is_the_one_that_is_filled_best(
    size: tuple[int, int], detail: Detail, grid: tuple[int, int]
) -> None:
    layout = PUBLISHED.layout(Size(*size), detail)

    assert layout.grid == grid
    assert layout.num_crops == grid[0] * grid[1]
    assert layout.pixel_shape == (560 * grid[0], 560 * grid[1], 3)


def test_every_image_takes_one_token_of_the_prompt_and_is_counted_by_its_states() -> None:
    layout = PUBLISHED.layout(Size(2000, 300), "auto")
    placeholder = PUBLISHED.placeholder(layout)

    assert layout.num_tokens == 4 * 1601
    assert placeholder.token_ids == (128256,)
    assert placeholder.spans == (ImageSpan(0, 1),)


def test_the_canvas_is_black_below_and_right() -> None:
    small = MllamaProcessor(tile_size=28, max_num_tiles=4, num_states=5, image_token_id=9)

    pixels = small.prepare(picture(20, 10), small.layout(Size(20, 10), "auto"))

    assert pixels.shape == (28, 28, 3)
    assert pixels[:14].any()
    assert not pixels[14:].any()


def test_aspect_ratios_are_numbered_as_published() -> None:
    assert tile_grids(4) == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (3, 1), (4, 1)]


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(InvalidImageSize, match="no pixels"):
        PUBLISHED.layout(Size(0, 5), "auto")
