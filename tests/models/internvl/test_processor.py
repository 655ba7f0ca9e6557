"""How pictures are cut into tiles, by the published numbers. (That the pixels are right is pinned in parity/.)"""

from __future__ import annotations

import pytest

from foveal.models.family import InvalidImageSize
from foveal.models.internvl.processor import InternVLProcessor, grids
from foveal.types import Detail, ImageSpan, Size

INTERNVL3 = InternVLProcessor(448, 1, 12, tokens_per_unit=256, token_ids=(151665, 151667, 151666))


@pytest.mark.parametrize(
    ("size", "detail", "grid", "num_units"),
    [
        ((448, 448), "auto", (1, 1), 1),
        ((1000, 1000), "auto", (3, 3), 10),
        ((640, 480), "high", (3, 4), 13),
        ((200, 100), "auto", (1, 2), 3),
        ((1, 900), "auto", (12, 1), 13),
        ((1000, 1000), "low", (1, 1), 1),
    ],
)
def test_the_grid_has_the_nearest_aspect_ratio(
    size: tuple[int, int], detail: Detail, grid: tuple[int, int], num_units: int
) -> None:
    layout = INTERNVL3.layout(Size(*size), detail)

    assert (layout.grid, layout.num_crops) == (grid, num_units)
    assert layout.num_tokens == 256 * num_units + 2


def test_the_context_tokens_of_all_units_between_two_marks() -> None:
    small = InternVLProcessor(4, 1, 2, tokens_per_unit=2, token_ids=(7, 8, 9))

    placeholder = small.placeholder(small.layout(Size(8, 4), "auto"))

    assert placeholder.token_ids == (7, 8, 8, 8, 8, 8, 8, 9)
    assert placeholder.spans == (ImageSpan(1, 6),)


def test_smaller_grids_come_first() -> None:
    assert grids(1, 3) == [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3)]


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(InvalidImageSize, match="no pixels"):
        INTERNVL3.layout(Size(0, 5), "auto")
