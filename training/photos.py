"""Scenes of photographs, which the model cannot describe: they train it to say so.

The photographs are those of installed Debian packages; smooth noise in natural colours replaces missing ones. The names
of the main colours are computed from the pixels.
"""

import math
import random
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from training.colours import COLOURS, Rgb
from training.scene import Photograph, Scene, Texture, draw

SIZES = ((320, 240), (240, 320), (400, 300), (512, 384), (300, 300), (640, 427))
WARM_AND_COLD: tuple[Rgb, ...] = (
    (34, 60, 28), (70, 110, 50), (140, 170, 90), (90, 70, 50), (160, 130, 100), (210, 190, 160), (130, 170, 215),
    (190, 215, 240), (60, 90, 140), (240, 235, 225), (30, 28, 30), (90, 92, 96), (170, 60, 45), (225, 160, 60),
)  # fmt: skip
SEEN = 0.25  # least share of the pixels for a main colour


FOLDERS = (
    "/usr/share/backgrounds",  # mate-backgrounds, lomiri-wallpapers-16.04, lomiri-wallpapers-20.04
    *(f"/usr/share/tuxpaint/stamps/{sort}" for sort in ("animals", "food", "plants", "space", "vehicles")),
)
DRAWN = ("cartoon", "abstract", "desktop", "mirror", "Painting", "analogpattern", "Infinite-Sea")  # drawings
HELD_OUT_FOLDER = Path("/usr/share/doc/opencv-doc/examples/data")
HELD_OUT = ("HappyFish", "aloeL", "apple", "baboon", "basketball1", "building", "butterfly", "fruits", "graf1", "home",
            "leuvenA", "messi5", "orange", "rubberwhale1", "squirrel_cls", "stuff")  # fmt: skip
TAKEN_SHARE = 0.7  # of the pictures: photographs, if there are any


@cache
def photographs(held_out: bool = False) -> tuple[str, ...]:
    """Files, in a fixed order."""
    if held_out:
        return tuple(str(path) for path in sorted(HELD_OUT_FOLDER.glob("*")) if path.stem in HELD_OUT)
    found = [str(path) for folder in FOLDERS for ending in ("jpg", "png") for path in Path(folder).rglob(f"*.{ending}")]
    return tuple(sorted(path for path in found if not any(word in path for word in DRAWN)))


def photo_scene(rng: random.Random, held_out: bool = False) -> Scene:
    files = photographs(held_out)
    scene = _taken(rng, rng.choice(files)) if files and rng.random() < TAKEN_SHARE else _imagined(rng)
    scene = replace(scene, noise_seed=rng.getrandbits(32), jpeg_quality=rng.randint(60, 95))
    return replace(scene, photo_colours=main_colours(draw(scene)))


def _taken(rng: random.Random, file: str) -> Scene:
    """A part of a photograph, of at least half of its width and height."""
    left, top = (rng.uniform(0, 0.25) * rng.choice((0, 1)) for _ in range(2))
    right, bottom = (1 - rng.uniform(0, 0.25) * rng.choice((0, 1)) for _ in range(2))
    photo = Photograph(file, (left, top, right, bottom), rng.random() < 0.5)
    width, height = photo.size
    scale = rng.choice((160, 224, 320, 480, 640)) / max(width, height)
    size = max(32, round(width * scale)), max(32, round(height * scale))
    behind = rng.choice(((255, 255, 255), (255, 255, 255), (0, 0, 0), rng.choice(WARM_AND_COLD)))  # cut-out things
    return Scene(*size, nearest(behind), (behind, behind), False, (), photograph=photo)


def _imagined(rng: random.Random) -> Scene:
    if rng.random() < 0.6:
        palette = tuple(rng.sample(WARM_AND_COLD, rng.randint(3, 6)))
    else:
        palette = tuple((rng.randrange(256), rng.randrange(256), rng.randrange(256)) for _ in range(rng.randint(3, 5)))
    texture = Texture(palette, rng.randint(2, 6), rng.randint(4, 7), rng.getrandbits(32), rng.choice((0, 0.5, 1.5)))
    scene = Scene(*rng.choice(SIZES), "grey", ((128,) * 3, (128,) * 3), False, (), texture=texture)
    return replace(scene, noise=rng.uniform(1, 6))


def main_colours(image: Image.Image) -> tuple[str, ...]:
    """The names of one to three colours that most of the pixels are nearest to, the largest share first."""
    pixels = np.asarray(image.convert("RGB").resize((48, 48), Image.Resampling.BOX)).reshape(-1, 3).tolist()
    counts = Counter(nearest(tuple(pixel)) for pixel in pixels)
    ranked = counts.most_common(3)
    return tuple(name for place, (name, count) in enumerate(ranked) if place == 0 or count >= SEEN * len(pixels))


def nearest(rgb: tuple[int, ...]) -> str:
    return min(COLOURS, key=lambda name: min(math.dist(rgb, anchor) for anchor in COLOURS[name]))
