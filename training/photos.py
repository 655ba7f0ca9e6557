"""Pictures that look as if a camera had taken them: smooth noise in natural colours, for a model that cannot read them.

They teach it to say so. The names of the main colours come from the pixels themselves.
"""

import math
import random
from collections import Counter
from dataclasses import replace

import numpy as np
from PIL import Image

from training.colours import COLOURS, Rgb
from training.scene import Scene, Texture, draw

SIZES = ((320, 240), (240, 320), (400, 300), (512, 384), (300, 300), (640, 427))
WARM_AND_COLD: tuple[Rgb, ...] = (
    (34, 60, 28), (70, 110, 50), (140, 170, 90), (90, 70, 50), (160, 130, 100), (210, 190, 160), (130, 170, 215),
    (190, 215, 240), (60, 90, 140), (240, 235, 225), (30, 28, 30), (90, 92, 96), (170, 60, 45), (225, 160, 60),
)  # fmt: skip
SEEN = 0.25  # share of the pixels from which on a colour is one of the main ones


def photo_scene(rng: random.Random) -> Scene:
    if rng.random() < 0.6:
        palette = tuple(rng.sample(WARM_AND_COLD, rng.randint(3, 6)))
    else:
        palette = tuple((rng.randrange(256), rng.randrange(256), rng.randrange(256)) for _ in range(rng.randint(3, 5)))
    texture = Texture(palette, rng.randint(2, 6), rng.randint(4, 7), rng.getrandbits(32), rng.choice((0, 0.5, 1.5)))
    scene = Scene(*rng.choice(SIZES), "grey", ((128,) * 3, (128,) * 3), False, (), texture=texture)
    scene = replace(scene, noise=rng.uniform(1, 6), noise_seed=rng.getrandbits(32), jpeg_quality=rng.randint(60, 95))
    return replace(scene, photo_colours=main_colours(draw(scene)))


def main_colours(image: Image.Image) -> tuple[str, ...]:
    """The names of one to three colours that most of the pixels are nearest to, the largest share first."""
    pixels = np.asarray(image.convert("RGB").resize((48, 48), Image.Resampling.BOX)).reshape(-1, 3).tolist()
    counts = Counter(nearest(tuple(pixel)) for pixel in pixels)
    ranked = counts.most_common(3)
    return tuple(name for place, (name, count) in enumerate(ranked) if place == 0 or count >= SEEN * len(pixels))


def nearest(rgb: tuple[int, ...]) -> str:
    return min(COLOURS, key=lambda name: min(math.dist(rgb, anchor) for anchor in COLOURS[name]))
