"""How pictures are cut, by the published numbers. (That the pixels are right is pinned in parity/.)"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from foveal.errors import CheckpointError
from foveal.models.checkpoint import Checkpoint
from foveal.models.family import InvalidImageSize
from foveal.models.llava.processor import LlavaNextProcessor, LlavaProcessor, load, unpadded
from foveal.types import Detail, ImageSpan, Size

if TYPE_CHECKING:
    from pathlib import Path

CANVASES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
LLAVA = LlavaProcessor(crop_size=336, keeps_ratio=True, side=24, num_others=0, image_token_id=32000)
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


@pytest.mark.parametrize(
    ("family", "tower", "strategy", "num_tokens"),
    [
        ("llava", "clip_vision_model", "default", 576),
        ("llava", "clip_vision_model", "full", 577),
        ("llava", "siglip_vision_model", "full", 576),
        ("llava", "siglip_vision_model", "default", 575),  # the first patch is taken for a class token
        ("llava_next", "clip_vision_model", "default", 577),
        ("llava_next", "siglip_vision_model", "full", 577),
    ],
)
def test_which_states_of_a_tower_are_tokens(
    tmp_path: Path, family: str, tower: str, strategy: str, num_tokens: int
) -> None:
    processor = load(checkpoint(tmp_path, family, tower, strategy))

    assert processor.layout(Size(640, 480), "low").num_tokens == num_tokens


@pytest.mark.parametrize(("tower", "strategy"), [("clip_vision_model", "full"), ("siglip_vision_model", "default")])
def test_tokens_of_a_crop_that_are_no_square_are_refused(tmp_path: Path, tower: str, strategy: str) -> None:
    with pytest.raises(CheckpointError, match="vision_feature_select_strategy must be"):
        load(checkpoint(tmp_path, "llava_next", tower, strategy))


def checkpoint(folder: Path, family: str, tower: str, strategy: str) -> Checkpoint:
    config = {
        "model_type": family,
        "image_token_index": 32000,
        "text_config": {"model_type": "llama"},
        "vision_config": {"model_type": tower, "patch_size": 14},
        "vision_feature_select_strategy": strategy,
    }
    pictures = {"size": {"height": 336, "width": 336}, "image_grid_pinpoints": [[336, 672]], "do_center_crop": False}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    return Checkpoint.read(folder)
