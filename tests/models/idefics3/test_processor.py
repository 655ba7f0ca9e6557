"""How pictures are cut into tiles and what stands between them. (That the pixels are right is pinned in parity/.)"""

from __future__ import annotations

import pytest

from foveal.models.family import InvalidImageSize
from foveal.models.idefics3.processor import Idefics3Processor, marks, scaled
from foveal.types import Detail, ImageSpan, Size


def encode(text: str) -> tuple[int, ...]:
    """A token a character, but one for each mark in angle brackets."""
    return tuple(range(text.count("<") + text.count("\n")))


SMOLVLM_256M = Idefics3Processor(512, 2048, True, 64, image_token_id=49190, encode=encode)


@pytest.mark.parametrize(
    ("size", "detail", "grid"),
    [
        ((512, 512), "auto", (4, 4)),
        ((1000, 600), "auto", (3, 4)),
        ((600, 1000), "high", (4, 3)),
        ((3000, 100), "auto", (1, 4)),
        ((3000, 100), "low", (0, 0)),
    ],
)
def test_the_longer_side_is_scaled_and_cut(size: tuple[int, int], detail: Detail, grid: tuple[int, int]) -> None:
    layout = SMOLVLM_256M.layout(Size(*size), detail)

    assert layout.grid == grid
    assert layout.num_crops == grid[0] * grid[1] + 1
    assert layout.pixel_shape == (layout.num_crops, 512, 512, 3)


def test_a_checkpoint_that_does_not_split_sees_the_whole_alone() -> None:
    whole = Idefics3Processor(512, 2048, False, 64, 9, encode)

    assert whole.layout(Size(1000, 600), "auto").num_crops == 1


def test_a_span_for_each_unit_with_marks_between() -> None:
    small = Idefics3Processor(4, 8, True, 3, image_token_id=9, encode=encode)

    layout = small.layout(Size(8, 4), "auto")
    placeholder = small.placeholder(layout)

    assert marks(*layout.grid) == [
        "<fake_token_around_image><row_1_col_1>",
        "<fake_token_around_image><row_1_col_2>",
        "\n\n<fake_token_around_image><global-img>",
        "<fake_token_around_image>",
    ]
    assert placeholder.spans == (ImageSpan(2, 3), ImageSpan(7, 3), ImageSpan(14, 3))
    assert placeholder.token_ids == (0, 1, 9, 9, 9, 0, 1, 9, 9, 9, 0, 1, 2, 3, 9, 9, 9, 0)
    assert layout.num_tokens == len(placeholder.token_ids)


def test_each_row_of_tiles_ends_with_a_line_break() -> None:
    assert [mark.startswith("\n") for mark in marks(2, 2)] == [False, False, True, False, True, False]


@pytest.mark.parametrize(
    ("size", "expected"), [((100, 33), (2048, 676)), ((33, 100), (676, 2048)), ((5000, 1), (2048, 1))]
)
def test_the_shorter_side_is_made_even(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scaled(Size(*size), 2048) == Size(*expected)


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(InvalidImageSize, match="no pixels"):
        SMOLVLM_256M.layout(Size(0, 5), "auto")
