"""Turns a picture into normalised crops, as Phi-3-vision's published processor does, for any crop size.

The crops stay uint8 until `normalise`, so that less data passes between processes.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def padded(
    image: Image.Image, crop_size: int, num_crops: int, fill: int = 255, nearest: bool = False
) -> NDArray[np.uint8]:
    """The picture resized and padded to whole crops: [H, W] or [H, W, channels]."""
    is_tall = image.height > image.width
    if is_tall:
        image = image.transpose(Image.Transpose.TRANSPOSE)
    ratio = image.width / image.height
    scale = max(s for s in range(1, num_crops + 1) if s * math.ceil(s / ratio) <= num_crops)
    width, height = scale * crop_size, int(scale * crop_size / ratio)
    resample = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    pixels = np.asarray(image.resize((width, height), resample))
    missing = math.ceil(height / crop_size) * crop_size - height
    bands = [(missing // 2, missing - missing // 2)] + [(0, 0)] * (pixels.ndim - 1)
    pixels = np.pad(pixels, bands, constant_values=fill)
    return pixels.swapaxes(0, 1) if is_tall else pixels


def normalise(pixels: Tensor) -> Tensor:
    """uint8 [H, W, 3] -> float [3, H, W]"""
    return ((pixels / 255 - MEAN) / STD).permute(2, 0, 1)


def crops(pixels: Tensor, crop_size: int) -> Tensor:
    """Normalised [3, H, W] -> [1 + h w, 3, crop, crop]: the global view, then the crops row by row."""
    overview = F.interpolate(pixels[None], (crop_size, crop_size), mode="bicubic", align_corners=False)
    channels, height, width = pixels.shape
    tiles = pixels.reshape(channels, height // crop_size, crop_size, width // crop_size, crop_size)
    return torch.cat([overview, tiles.permute(1, 3, 0, 2, 4).flatten(0, 1)])
