"""The grid that people see over their image tells where each crop's pixels come from.

The picture's red and green say where a pixel was, so a pixel of a crop names its own place.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from foveal.models.family import Processor
from foveal.models.gemma3.processor import Gemma3Processor
from foveal.models.idefics3.processor import Idefics3Processor
from foveal.models.internvl.processor import InternVLProcessor
from foveal.models.llava.processor import LlavaNextProcessor, LlavaProcessor
from foveal.models.mllama.processor import MllamaProcessor
from foveal.models.phi3_v.processor import Phi3VProcessor
from foveal.models.qwen2_vl.processor import Qwen2VLProcessor
from foveal.types import CropGrid, Detail, Size

CANVASES = ((1, 2), (2, 1), (2, 2), (1, 3), (3, 1))
PROCESSORS: dict[str, Processor] = {
    "gemma3": Gemma3Processor(64, 16, (1, 2, 3)),
    "idefics3": Idefics3Processor(64, 256, True, 16, 1, lambda mark: (2,)),
    "internvl": InternVLProcessor(64, 1, 12, 16, (1, 2, 3)),
    "llava": LlavaProcessor(64, True, 4, False, 1),
    "llava, squeezed": LlavaProcessor(64, False, 4, False, 1),
    "llava_next": LlavaNextProcessor(64, CANVASES, 4, 1),
    "mllama": MllamaProcessor(64, 4, 17, 1),
    "phi3_v": Phi3VProcessor(56, 16, 1),
    "qwen2_vl": Qwen2VLProcessor(14, 2, 28**2 * 4, 28**2 * 64, 1),
}
FIRST_CROP = {"llava_next": 1}  # the whole comes first
SIZES = (Size(300, 200), Size(130, 390), Size(97, 89), Size(512, 512), Size(640, 150))


@pytest.mark.parametrize("detail", ["auto", "low"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.width}x{size.height}")
@pytest.mark.parametrize("family", PROCESSORS)
def test_each_crop_has_the_pixels_that_the_grid_says(family: str, size: Size, detail: Detail) -> None:
    processor = PROCESSORS[family]
    layout = processor.layout(size, detail)
    pixels = processor.prepare(_places(size), layout)
    grid = layout.crops
    assert grid is not None
    width, height = (grid.right - grid.left) / grid.columns, (grid.bottom - grid.top) / grid.rows
    num_seen = 0
    for index in range(grid.rows * grid.columns):
        row, column = divmod(index, grid.columns)
        left, top = grid.left + column * width, grid.top + row * height
        x = (max(left, 0) + min(left + width, size.width)) / 2  # the middle of what the crop has of the image
        y = (max(top, 0) + min(top + height, size.height)) / 2
        if not (left < x < left + width and top < y < top + height):
            continue  # a crop of padding alone
        crop = _crop(pixels, index, grid, FIRST_CROP.get(family, 0))
        red, green = crop[int((y - top) / height * crop.shape[0]), int((x - left) / width * crop.shape[1]), :2]
        assert (red / 255 * size.width, green / 255 * size.height) == (
            pytest.approx(x, abs=0.03 * size.width),
            pytest.approx(y, abs=0.03 * size.height),
        )
        num_seen += 1
    assert num_seen > 0


def _places(size: Size) -> Image.Image:
    """Red grows to the right from 0 to 255, green downwards."""
    x, y = (np.arange(side) + 0.5 for side in size)
    pixels = np.zeros((size.height, size.width, 3))
    pixels[:, :, 0] = 255 * x / size.width
    pixels[:, :, 1] = 255 * y[:, None] / size.height
    return Image.fromarray(pixels.round().astype(np.uint8))


def _crop(pixels: np.ndarray, index: int, grid: CropGrid, first: int) -> np.ndarray:
    """A crop, of crops one after the other or of a canvas."""
    if pixels.ndim == 4:
        crop: np.ndarray = pixels[first + index if grid.rows * grid.columns > 1 else 0]
        return crop
    row, column = divmod(index, grid.columns)
    height, width = pixels.shape[0] // grid.rows, pixels.shape[1] // grid.columns
    return pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
