"""Scenes of shapes: outlines of each kind, their placement, and the kinds of scene with only shapes."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from training.colours import BACKGROUNDS, COLOURS, Rgb, contrasts, pick, tint
from training.scene import Box, Point, Scene, Shape

# People try the plain kinds first, so they are drawn more often.
KINDS: dict[str, float] = {
    "circle": 4, "square": 4, "triangle": 4, "rectangle": 3, "star": 2.5, "oval": 2,
    "diamond": 2, "pentagon": 1.5, "hexagon": 1.5, "cross": 1.5, "heart": 1.5,
}  # fmt: skip
ASPECTS = (1, 1, 1, 1, 4 / 3, 4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3, 9 / 16)
LARGEST = (1.0, 0.85, 0.5, 0.42, 0.38, 0.34, 0.31)  # side of the largest shape, by the number of shapes


def _regular(corners: int, inner: float = 1.0) -> list[Point]:
    """A regular polygon standing on its base, or a star when every second corner lies at `inner`."""
    steps = corners if inner == 1.0 else 2 * corners
    radii = [1.0 if inner == 1.0 or i % 2 == 0 else inner for i in range(steps)]
    angles = [2 * math.pi * i / steps for i in range(steps)]
    return [(r * math.sin(a), -r * math.cos(a)) for r, a in zip(radii, angles, strict=True)]


def _box(ratio: float) -> list[Point]:
    return [(-ratio, -1), (ratio, -1), (ratio, 1), (-ratio, 1)]


def _cross(arm: float) -> list[Point]:
    quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    turns: list[Callable[[float, float], Point]] = [
        lambda x, y: (x, y), lambda x, y: (-y, x), lambda x, y: (-x, -y), lambda x, y: (y, -x),
    ]  # fmt: skip
    return [turn(x, y) for turn in turns for x, y in quarter]


def _heart() -> list[Point]:
    angles = [2 * math.pi * i / 40 for i in range(40)]
    curve = [13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a) for a in angles]
    return [(math.sin(a) ** 3, -y / 16) for a, y in zip(angles, curve, strict=True)]


def _elongated(rng: random.Random, low: float, high: float) -> float:
    return rng.uniform(low, high) ** rng.choice((-1, 1))


# Per kind: the outline around the origin, and how far it may be turned, in degrees.
OUTLINES: dict[str, tuple[Callable[[random.Random], list[Point]], float]] = {
    "circle": (lambda rng: _regular(64), 0),
    "oval": (lambda rng: [(x * r, y) for r in [_elongated(rng, 1.4, 2.3)] for x, y in _regular(64)], 15),
    "square": (lambda rng: _box(1), 12),
    "rectangle": (lambda rng: _box(_elongated(rng, 1.4, 3)), 10),
    "triangle": (lambda rng: [(rng.choice((0, 0, 0, -1, 1, rng.uniform(-1, 1))), -1), (1, 1), (-1, 1)], 15),
    "diamond": (lambda rng: [(x * r, y) for r in [rng.uniform(0.55, 1.0)] for x, y in _regular(4)], 6),
    "pentagon": (lambda rng: _regular(5), 12),
    "hexagon": (lambda rng: _regular(6), 30),
    "star": (lambda rng: _regular(rng.choice((5, 5, 5, 6)), rng.uniform(0.36, 0.5)), 20),
    "cross": (lambda rng: _cross(rng.uniform(0.22, 0.4)), 10),
    "heart": (lambda rng: _heart(), 10),
}


def _outline(rng: random.Random, kind: str) -> list[Point]:
    """The shape's corners, turned, its larger side 1 long, the middle of its box at the origin."""
    make, turn = OUTLINES[kind]
    degrees = rng.choice((0, 0, 1)) * rng.uniform(-turn, turn)
    if kind == "triangle":
        degrees += rng.choice((0, 0, 0, 90, 180, 270))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned = [(x * cos - y * sin, x * sin + y * cos) for x, y in make(rng)]
    xs, ys = zip(*turned, strict=True)
    x0, y0, side = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(max(xs) - min(xs), max(ys) - min(ys))
    return [((x - x0) / side, (y - y0) / side) for x, y in turned]


@dataclass(frozen=True)
class Manner:
    """The style of one kind of scene."""

    backgrounds: dict[str, float]
    kinds: dict[str, float] = field(default_factory=lambda: KINDS)
    colours: tuple[str, ...] = tuple(COLOURS)
    outlined: float = 0.0  # share of shapes
    gradients: float = 0.0  # share of backgrounds
    pure: bool = False  # each name stands for one colour only


def _place(rng: random.Random, size: tuple[int, int], kind: str, side: float, taken: list[Box]) -> list[Point]:
    """Corners in pixels of a shape clear of the taken ones; empty when no room was found."""
    outline = _outline(rng, kind)
    xs, ys = zip(*outline, strict=True)
    half_width, half_height, gap = max(xs) * side + 1, max(ys) * side + 1, 0.02 * min(size)
    for _ in range(20):
        x = rng.uniform(half_width, max(half_width, size[0] - half_width))
        y = rng.uniform(half_height, max(half_height, size[1] - half_height))
        box = (x - half_width - gap, y - half_height - gap, x + half_width + gap, y + half_height + gap)
        if not any(_overlap(box, other) for other in taken):
            return [(x + dx * side, y + dy * side) for dx, dy in outline]
    return []


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _shape(
    rng: random.Random,
    size: tuple[int, int],
    side: float,
    ground: tuple[str, Rgb, Rgb],
    taken: list[Box],
    manner: Manner,
) -> Shape | None:
    """One more shape, different from the ground and outside the taken boxes; None if none was found."""
    background, *ends = ground
    kind, colour = pick(rng, manner.kinds), rng.choice([name for name in manner.colours if name != background])
    rgb = tint(rng, colour, manner.pure)
    points = _place(rng, size, kind, side, taken)
    if not points or not contrasts(rgb, *ends):
        return None
    line_width = max(2.0, side * rng.uniform(0.04, 0.1)) if rng.random() < manner.outlined else 0.0
    return Shape(kind, colour, rgb, tuple(points), line_width)


def canvas_size(rng: random.Random) -> tuple[int, int]:
    """Width and height as people send them, from 80 to 1024 pixels."""
    aspect = rng.choice(ASPECTS) if rng.random() < 0.85 else math.exp(rng.uniform(-0.9, 0.9))
    longer = rng.choices(
        (rng.randint(100, 320), rng.choice((200, 224, 256, 300, 400, 512)), rng.choice((640, 800, 1024))), (6, 4, 1)
    )[0]
    return (longer, max(80, round(longer / aspect))) if aspect >= 1 else (max(80, round(longer * aspect)), longer)


def with_shapes(
    rng: random.Random, scene: Scene, wanted: int, sides: tuple[float, float], manner: Manner, taken: list[Box]
) -> Scene:
    """The scene with at most `count` shapes, as there is room; `sides` are parts of the picture's shorter side."""
    size, boxes, shapes = (scene.width, scene.height), list(taken), list[Shape]()
    for _ in range(30 + 10 * wanted):
        if len(shapes) == wanted:
            break
        side = rng.uniform(*sides) * min(size)
        if shape := _shape(rng, size, side, (scene.background, *scene.gradient), boxes, manner):
            shapes.append(shape)
            boxes.append(shape.box)
    return replace(scene, shapes=tuple(shapes))


def ground(rng: random.Random, size: tuple[int, int], manner: Manner) -> Scene:
    """A scene with nothing on it yet."""
    background = pick(rng, manner.backgrounds)
    first = tint(rng, background, manner.pure)
    last = tint(rng, background, manner.pure) if rng.random() < manner.gradients else first
    return Scene(*size, background, (first, last), rng.random() < 0.5, ())


def _shapes(
    rng: random.Random, size: tuple[int, int], wanted: int, sides: tuple[float, float], manner: Manner
) -> Scene:
    return with_shapes(rng, ground(rng, size, manner), wanted, sides, manner, [])


def worn(rng: random.Random, scene: Scene) -> Scene:
    """The same scene, sometimes blurred, noisy or compressed as JPEG."""
    side = min(scene.width, scene.height)
    return replace(
        scene,
        supersampling=1 if max(scene.width, scene.height) > 320 else rng.choice((1, 1, 2, 3)),
        blur=rng.uniform(0.3, 0.004 * side + 0.3) if rng.random() < 0.1 else 0.0,
        noise=rng.uniform(1, 10) if rng.random() < 0.12 else 0.0,
        noise_seed=rng.getrandbits(32),
        jpeg_quality=rng.randint(40, 95) if rng.random() < 0.3 else 0,
    )


def large_scene(rng: random.Random) -> Scene:
    """One or two filled shapes as large as fit, without wear: the tower's first scenes."""
    size = rng.randint(100, 180), rng.randint(100, 180)
    wanted, largest = rng.choice(((1, 0.95), (1, 0.95), (2, 0.6)))
    return _shapes(rng, size, wanted, (0.4, largest), Manner(BACKGROUNDS, gradients=0.15))


def plain_scene(rng: random.Random) -> Scene:
    """What people draw to try a model: pure colours on white, grey or black, hard edges."""
    size = rng.choice((200, 256, 300, 320, 400)), rng.choice((200, 240, 256, 300, 400))
    wanted = rng.choice((1, 1, 2, 2, 3))
    backgrounds = {"white": 4.0, "black": 1.0, "grey": 1.0}
    return _shapes(rng, size, wanted, (0.22, LARGEST[wanted]), Manner(backgrounds, outlined=0.05, pure=True))


def shapes_scene(rng: random.Random) -> Scene:
    """None to five shapes, 15 to 85 % of the picture each, in all colours and states of wear."""
    wanted = rng.choices((0, 1, 2, 3, 4, 5), (2, 30, 30, 20, 12, 6))[0]
    manner = Manner(BACKGROUNDS, outlined=0.12, gradients=0.15)
    return worn(rng, _shapes(rng, canvas_size(rng), wanted, (0.15, LARGEST[wanted]), manner))


def many_scene(rng: random.Random) -> Scene:
    """One to ten small shapes of few kinds and colours, for counting."""
    wanted = rng.randint(1, 10)
    kinds = dict.fromkeys(rng.sample(list(KINDS), rng.choice((1, 1, 2, 2, 3))), 1.0)
    colours = tuple(rng.sample(list(COLOURS), rng.choice((2, 2, 3, 4))))
    manner = Manner({"white": 4.0, "black": 1.0, "grey": 1.0}, kinds, colours, outlined=0.05, pure=rng.random() < 0.6)
    side = rng.uniform(0.11, min(0.3, 0.62 / math.sqrt(wanted)))
    size = canvas_size(rng)
    if max(size) > 1.6 * min(size):
        size = max(size), max(size)
    return worn(rng, _shapes(rng, size, wanted, (0.85 * side, side), manner))
