"""Gemma 3, in the server: google/gemma-3-4b-it, gemma-3-12b-it, gemma-3-27b-it.

    image of any size                 squeezed to 896 x 896                   units of encoder work
    +------------+                    +-------+                               0   the whole
    |            |  bilinear          |   0   |
    |            |  --------------->  |       |                               tokens
    +------------+                    +-------+                               <start_of_image> 256 <end_of_image>

The conversation config adds the blank lines before and after. Pan and scan, which cuts wide images into crops with
English text between, is off in the published checkpoints. Checkpoints that turn it on are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foveal.errors import CheckpointError
from foveal.models.family import InvalidImageSize
from foveal.types import CropGrid, Detail, ImageLayout, ImageSpan, Placeholder, Size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from foveal.models.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Gemma3Processor:
    crop_size: int  # pixels a side
    num_features: int  # positions that features fill
    token_ids: tuple[int, int, int]  # start of image, image, end of image

    @property
    def fingerprint(self) -> str:
        return f"gemma3 crop_size={self.crop_size} num_features={self.num_features}"

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        """The same for every size and `detail`."""
        if min(size) < 1:
            raise InvalidImageSize("it has no pixels")
        shape, crops = (1, self.crop_size, self.crop_size, 3), CropGrid.over(size, 1, 1)
        return ImageLayout(size, shape, (1, 1), 1, self.num_features + 2, crops)

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        """The image, resized bilinearly."""
        return np.array(picture.resize((self.crop_size, self.crop_size), Image.Resampling.BILINEAR))[None]

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        start, image, end = self.token_ids
        return Placeholder((start, *(image,) * self.num_features, end), (ImageSpan(1, self.num_features),))


def load(checkpoint: Checkpoint) -> Gemma3Processor:
    """From preprocessor_config.json and config.json. Raises CheckpointError for a mark that has no embedding."""
    config, settings = checkpoint.config, checkpoint.preprocessor_config
    for name in ("boi_token_index", "eoi_token_index"):  # features take the places of image_token_index
        if config.get(name, 0) >= checkpoint.vocab_size:
            raise CheckpointError(
                f"{config.place}: {name} is {config[name]}, beyond the vocabulary of {checkpoint.vocab_size} tokens"
            )
    return Gemma3Processor(
        crop_size=settings["size"]["height"],
        num_features=config.get("mm_tokens_per_image", 256),
        token_ids=(
            config.get("boi_token_index", 255_999),
            config.get("image_token_index", 262_144),
            config.get("eoi_token_index", 256_000),
        ),
    )
