"""Colours and their names. It knows nothing of pictures."""

import math
import random

Rgb = tuple[int, int, int]

# Several anchors a name: the pure colours that people draw with, the CSS colour of that name, everyday variants, and
# the one that plotting programs take (Tableau's ten).
COLOURS: dict[str, tuple[Rgb, ...]] = {
    "red": ((255, 0, 0), (255, 0, 0), (220, 20, 60), (200, 30, 30), (230, 50, 50), (214, 39, 40)),
    "orange": ((255, 165, 0), (255, 165, 0), (255, 128, 0), (255, 140, 0), (230, 120, 20)),
    "yellow": ((255, 255, 0), (255, 255, 0), (255, 220, 0), (240, 205, 40), (250, 240, 90)),
    "green": ((0, 255, 0), (0, 128, 0), (0, 128, 0), (34, 139, 34), (60, 180, 75), (0, 200, 0), (44, 160, 44)),
    "blue": ((0, 0, 255), (0, 0, 255), (30, 80, 220), (65, 105, 225), (0, 0, 139), (40, 110, 200), (31, 119, 180)),
    "cyan": ((0, 255, 255), (0, 255, 255), (64, 224, 208), (0, 200, 210), (23, 190, 207)),
    "purple": ((128, 0, 128), (128, 0, 128), (150, 50, 200), (160, 32, 240), (100, 40, 150), (148, 103, 189)),
    "pink": ((255, 192, 203), (255, 105, 180), (255, 0, 255), (255, 20, 147), (240, 150, 180), (227, 119, 194)),
    "brown": ((139, 69, 19), (139, 69, 19), (120, 72, 40), (101, 67, 33), (150, 85, 45), (140, 86, 75)),
    "black": ((0, 0, 0), (0, 0, 0), (0, 0, 0), (20, 20, 20), (30, 30, 30)),
    "white": ((255, 255, 255), (255, 255, 255), (255, 255, 255), (245, 245, 245)),
    "grey": ((128, 128, 128), (128, 128, 128), (105, 105, 105), (160, 160, 160), (192, 192, 192), (200, 200, 200)),
}
BACKGROUNDS: dict[str, float] = dict.fromkeys(COLOURS, 1.0) | {"white": 9, "grey": 3, "black": 3}
MIN_CONTRAST = 90  # Euclidean distance in RGB; a thing that is nearer to its background may be invisible


def tint(rng: random.Random, name: str, pure: bool = False) -> Rgb:
    """One of the colours that go by the name; `pure`: the one that people draw with."""
    if pure:
        return COLOURS[name][0]
    anchor = rng.choice(COLOURS[name])
    spread = rng.choice((0, 0, 12))
    red, green, blue = (min(255, max(0, level + rng.randint(-spread, spread))) for level in anchor)
    return red, green, blue


def contrasts(rgb: Rgb, *others: Rgb) -> bool:
    return all(math.dist(rgb, other) >= MIN_CONTRAST for other in others)


def pick(rng: random.Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
