"""How pictures are cut, by the published numbers. (That the pixels are right is pinned in tests/parity.)"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from foveal.models.checkpoint import Checkpoint
from foveal.models.family import InvalidImageSize
from foveal.models.phi3_v.processor import Phi3VProcessor, load
from foveal.types import ImageSpan, Size
from tests.builders import picture, tiny_phi3_v

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.types import Detail

PHI3, PHI35 = Phi3VProcessor(336, 16, 32044), Phi3VProcessor(336, 4, 32044)
SMALL = Phi3VProcessor(28, 4, 5)


@pytest.mark.parametrize(
    ("processor", "size", "detail", "num_tokens"),
    [
        (PHI3, (1000, 1000), "auto", 2509),
        (PHI3, (1000, 1000), "high", 2509),
        (PHI3, (640, 480), "auto", 1921),
        (PHI3, (1920, 1080), "auto", 2353),
        (PHI3, (1080, 1920), "auto", 2377),
        (PHI35, (1000, 1000), "auto", 757),
        (PHI35, (1000, 1000), "low", 313),
        (PHI3, (1, 1), "low", 313),
        (SMALL, (100, 100), "auto", 9),
    ],
)
def test_token_counts(processor: Phi3VProcessor, size: tuple[int, int], detail: Detail, num_tokens: int) -> None:
    assert processor.layout(Size(*size), detail).num_tokens == num_tokens


def test_only_the_aspect_ratio_counts() -> None:
    layouts = [PHI3.layout(Size(4 * k, 3 * k), "auto") for k in (1, 10, 777)]

    assert len({(layout.grid, layout.num_tokens) for layout in layouts}) == 1


@pytest.mark.parametrize(
    ("size", "grid", "num_crops"),
    [((100, 100), (2, 2), 5), ((400, 100), (1, 4), 5), ((100, 400), (4, 1), 5), ((200, 100), (1, 2), 3)],
)
def test_grids_of_four_crops_and_the_whole(size: tuple[int, int], grid: tuple[int, int], num_crops: int) -> None:
    layout = SMALL.layout(Size(*size), "auto")

    assert layout.grid == grid
    assert layout.num_crops == num_crops
    assert layout.pixel_shape == (28 * grid[0], 28 * grid[1], 3)


def test_a_picture_of_one_crop_is_encoded_once() -> None:
    assert SMALL.layout(Size(50, 50), "low").num_crops == 1


@pytest.mark.parametrize("detail", ["low", "auto"])
def test_ratios_past_the_limit_are_refused_with_the_limit(detail: Detail) -> None:
    limit = 28 * (1 if detail == "low" else 4)
    for size in (Size(limit, 1), Size(1, limit)):
        assert min(SMALL.prepare(picture(*size), SMALL.layout(size, detail)).shape) > 0

    for size in (Size(limit + 1, 1), Size(1, limit + 1)):
        with pytest.raises(InvalidImageSize, match=f"at most {limit} times"):
            SMALL.layout(size, detail)


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(InvalidImageSize, match="no pixels"):
        SMALL.layout(Size(0, 5), "auto")


def test_every_size_is_cut_into_no_more_crops_than_allowed() -> None:
    for width in range(1, 60, 7):
        for height in range(1, 60, 7):
            layout = SMALL.layout(Size(width, height), "auto")

            assert 1 <= math.prod(layout.grid) <= 4
            assert SMALL.prepare(picture(width, height), layout).shape == layout.pixel_shape


@pytest.mark.parametrize(("size", "above", "left"), [((56, 27), 14, 0), ((56, 28), 14, 0), ((27, 56), 0, 14)])
def test_padding_is_white_and_on_both_sides(size: tuple[int, int], above: int, left: int) -> None:
    black = Image.new("RGB", size)
    processor = Phi3VProcessor(56, 1, 5)

    pixels = processor.prepare(black, processor.layout(Size(*size), "auto"))

    assert pixels.dtype == np.uint8
    inside = np.zeros(pixels.shape[:2], dtype=bool)
    inside[above : 56 - above - (above > 0 and size[1] % 2), left : 56 - left - (left > 0 and size[0] % 2)] = True
    assert (pixels[~inside] == 255).all()
    assert (pixels[inside] == 0).all()


def test_the_placeholder_is_one_span_of_the_image_token() -> None:
    placeholder = SMALL.placeholder(SMALL.layout(Size(9, 9), "auto"))

    assert placeholder.token_ids == (5,) * 9
    assert placeholder.spans == (ImageSpan(0, 9),)


def test_settings_come_from_the_checkpoint(tmp_path: Path) -> None:
    processor = load(Checkpoint.read(tiny_phi3_v(tmp_path, crop_size=56, num_crops=3)))

    assert processor == Phi3VProcessor(crop_size=56, num_crops=3, image_token_id=264)


def test_published_checkpoints_leave_the_towers_sizes_out(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"img_processor": {"name": "clip_vision_model"}}')

    assert load(Checkpoint.read(tmp_path)) == Phi3VProcessor(crop_size=336, num_crops=16, image_token_id=0)


def test_what_changes_pixels_or_counts_changes_the_fingerprint() -> None:
    fingerprints = {Phi3VProcessor(crop, num, 0).fingerprint for crop in (28, 56) for num in (1, 4)}

    assert len(fingerprints) == 4
