"""LLaVA 1.5 and LLaVA-NeXT (1.6), in the server: llava-hf/llava-1.5-7b-hf, llava-hf/llava-v1.6-mistral-7b-hf ...

    LLaVA: the middle square            LLaVA-NeXT: one of a few canvases       units of encoder work
    +------------+                      +-----+-----+                           0        the whole, squeezed to a square
    |   |    |   |  one unit            |#####|#####|  black above and below    1 .. 4   the crops, row by row
    |   |    |   |                      +-----+-----+
    +------------+                      |#####|#####|                           tokens (S a side of a crop)
                                        +-----+-----+                           S^2, then the image's rows without
                                                                                padding, a separator after each

The canvas is the one that keeps most of the image's pixels, and of equal ones wastes least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foveal.errors import CheckpointError
from foveal.models.bounds import shown
from foveal.models.family import InvalidImageSize
from foveal.types import CropGrid, Detail, ImageLayout, ImageSpan, Placeholder, Size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from foveal.models.checkpoint import Checkpoint, Settings

MAX_ASPECT_RATIO = 200  # ours


@dataclass(frozen=True, slots=True)
class LlavaProcessor:
    crop_size: int  # pixels a side
    keeps_ratio: bool  # True: the shorter side is scaled to the crop, and the middle cut out; False: squeezed
    side: int  # S, tokens a side of a crop
    num_others: int  # 1 where the class token is one of the tokens; -1 where the first patch is taken for it
    image_token_id: int

    @property
    def fingerprint(self) -> str:
        return f"llava crop_size={self.crop_size} keeps_ratio={self.keeps_ratio} side={self.side}"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """One crop, whatever the `detail`."""
        _check(size)
        shape, crops = (1, self.crop_size, self.crop_size, 3), CropGrid.over(size, 1, 1)
        if self.keeps_ratio:
            crops = CropGrid.around(size, self._scaled(size), 1, 1, self.crop_size, self._corner(size))
        return ImageLayout(size, shape, (1, 1), 1, self.side**2 + self.num_others, crops)

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The image, resized bicubically."""
        crop = self.crop_size
        if not self.keeps_ratio:
            return np.array(picture.resize((crop, crop), Image.Resampling.BICUBIC))[None]
        left, top = (-x for x in self._corner(layout.size))
        resized = np.asarray(picture.resize(self._scaled(layout.size), Image.Resampling.BICUBIC))
        return resized[None, top : top + crop, left : left + crop].copy()

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        return _placeholder(self.image_token_id, layout)

    def _scaled(self, size: Size) -> Size:
        """The size with its shorter side as long as the crop's."""
        short = min(size)
        return Size(*(self.crop_size if x == short else int(self.crop_size * x / short) for x in size))

    def _corner(self, size: Size) -> tuple[int, int]:
        """Where the scaled image's upper left is, seen from the crop's."""
        width, height = self._scaled(size)
        return -((width - self.crop_size) // 2), -((height - self.crop_size) // 2)


@dataclass(frozen=True, slots=True)
class LlavaNextProcessor:
    crop_size: int  # pixels a side
    canvases: tuple[tuple[int, int], ...]  # rows and columns of crops
    side: int  # S, tokens a side of a crop
    image_token_id: int

    @property
    def fingerprint(self) -> str:
        return f"llava_next crop_size={self.crop_size} canvases={self.canvases} side={self.side}"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """`detail` low means only the whole. The grid is rows and columns of crops, then of tokens without padding."""
        _check(size)
        if detail == "low":
            rows = columns = token_rows = token_columns = 0
        else:
            rows, columns = self._canvas(size)
            token_rows, token_columns = unpadded(size, rows * self.side, columns * self.side)
        num_units = rows * columns + 1
        num_tokens_behind_whole = 1 if detail == "low" else token_rows * (token_columns + 1)
        return ImageLayout(
            size=size,
            pixel_shape=(num_units, self.crop_size, self.crop_size, 3),
            grid=(rows, columns, token_rows, token_columns),
            num_crops=num_units,
            num_tokens=self.side**2 + num_tokens_behind_whole,
            crops=self._crops(size, rows, columns),
        )

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The whole and the crops, resized bicubically."""
        crop, (rows, columns, _, _) = self.crop_size, layout.grid
        whole = np.asarray(picture.resize((crop, crop), Image.Resampling.BICUBIC))[None]
        if rows == 0:
            return whole.copy()
        canvas = np.zeros((rows * crop, columns * crop, 3), dtype=np.uint8)
        width, height = fitted(layout.size, Size(columns * crop, rows * crop))
        left, top = self._corner(layout.size, rows, columns)
        resized = picture.resize((width, height), Image.Resampling.BICUBIC)
        canvas[top : top + height, left : left + width] = np.asarray(resized)
        crops = canvas.reshape(rows, crop, columns, crop, 3).swapaxes(1, 2).reshape(-1, crop, crop, 3)
        return np.concatenate([whole, crops])

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        return _placeholder(self.image_token_id, layout)

    def _corner(self, size: Size, rows: int, columns: int) -> tuple[int, int]:
        """Where the image's upper left is in its canvas, in whose middle it lies."""
        canvas = Size(columns * self.crop_size, rows * self.crop_size)
        width, height = fitted(size, canvas)
        return (canvas.width - width) // 2, (canvas.height - height) // 2

    def _crops(self, size: Size, rows: int, columns: int) -> CropGrid:
        if rows == 0:
            return CropGrid.over(size, 1, 1)
        inside = fitted(size, Size(columns * self.crop_size, rows * self.crop_size))
        return CropGrid.around(size, inside, rows, columns, self.crop_size, self._corner(size, rows, columns))

    def _canvas(self, size: Size) -> tuple[int, int]:
        def merit(grid: tuple[int, int]) -> tuple[int, int]:
            height, width = grid[0] * self.crop_size, grid[1] * self.crop_size
            scale = min(width / size.width, height / size.height)
            shown = min(int(size.width * scale) * int(size.height * scale), size.width * size.height)
            return shown, shown - width * height

        return max(self.canvases, key=merit)


def load(checkpoint: Checkpoint) -> LlavaProcessor | LlavaNextProcessor:
    """From preprocessor_config.json and config.json. Raises CheckpointError for a setting that is not implemented."""
    settings, vision = checkpoint.preprocessor_config, checkpoint.vision_config
    size, token_id = settings["size"], image_token_id(checkpoint.config)
    crop_size = size.get("shortest_edge") or size["height"]
    _check_crop(settings, crop_size)
    side = crop_size // vision.get("patch_size", 14)
    num_others = _num_others(checkpoint)
    if checkpoint.model_type == "llava_next":
        if num_others:
            raise CheckpointError(
                f"{checkpoint.config.place}: vision_feature_select_strategy must be default with a tower of CLIP, "
                "and full with one of SigLIP; otherwise a crop's tokens are no square"
            )
        pinpoints = settings.get("image_grid_pinpoints") or checkpoint.config["image_grid_pinpoints"]
        canvases = tuple((height // crop_size, width // crop_size) for height, width in pinpoints)
        return LlavaNextProcessor(crop_size, canvases, side, token_id)
    return LlavaProcessor(crop_size, "shortest_edge" in size, side, num_others, token_id)


def _num_others(checkpoint: Checkpoint) -> int:
    """How many tokens a crop has more than patches: the strategy `default` drops the first, of whatever tower."""
    tower = checkpoint.vision_config.get("model_type", "clip_vision_model")
    strategy = checkpoint.config.get("vision_feature_select_strategy", "default")
    return int(tower == "clip_vision_model") - int(strategy == "default")


def _check_crop(settings: Settings, crop_size: int) -> None:
    """The square that is cut out has to be the one that pictures are resized to."""
    crop, cuts = settings.get("crop_size") or crop_size, settings.get("do_center_crop")
    sides = list(crop.values()) if isinstance(crop, dict) else [crop]
    if any(side != crop_size for side in sides) if cuts is not False else "shortest_edge" in settings["size"]:
        raise CheckpointError(
            f"{settings.place}: do_center_crop {cuts} and crop_size {shown(crop)} do not cut out squares of "
            f"{crop_size} pixels, which alone is implemented"
        )


def image_token_id(config: Settings) -> int:
    """From its older or its newer setting."""
    return int(config["image_token_index"] if "image_token_index" in config else config["image_token_id"])


def fitted(size: Size, canvas: Size) -> Size:
    """The image's size in its canvas, of which it fills one side."""
    scale_x, scale_y = canvas.width / size.width, canvas.height / size.height
    if scale_x < scale_y:
        return Size(canvas.width, min(math.ceil(size.height * scale_x), canvas.height))
    return Size(min(math.ceil(size.width * scale_y), canvas.width), canvas.height)


def unpadded(size: Size, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a canvas's tokens that are not padding; the padding is equal on both sides."""
    if size.width / size.height > columns / rows:
        height = int(round(size.height * (columns / size.width), 7))
        return rows - (rows - height) // 2 * 2, columns
    width = int(round(size.width * (rows / size.height), 7))
    return rows, columns - (columns - width) // 2 * 2


def _check(size: Size) -> None:
    if min(size) < 1:
        raise InvalidImageSize("it has no pixels")
    if max(size) / min(size) > MAX_ASPECT_RATIO:
        raise InvalidImageSize(
            f"it is too narrow; its longer side may be at most {MAX_ASPECT_RATIO} times its shorter side"
        )


def _placeholder(token_id: int, layout: ImageLayout) -> Placeholder:
    """Features fill every position, separators included."""
    return Placeholder((token_id,) * layout.num_tokens, (ImageSpan(0, layout.num_tokens),))
