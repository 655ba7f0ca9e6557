"""Pictures from seeds: a frozen `Scene` says what is drawn, `draw` makes its pixels, `cover` says whose they are.

A scene kind is a function from a random generator to a `Scene`; `SCENES` is the table of them. All chance is spent
while the scene is made, so that drawing is a pure function: sample i of seed s is always the same picture.
It knows nothing of questions, tokens or models.
"""

import io
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Rgb = tuple[int, int, int]
Point = tuple[float, float]

# Several anchors a name: the pure colours that people draw with, the CSS colour of that name, and everyday variants.
COLOURS: dict[str, tuple[Rgb, ...]] = {
    "red": ((255, 0, 0), (255, 0, 0), (220, 20, 60), (200, 30, 30), (230, 50, 50)),
    "orange": ((255, 165, 0), (255, 165, 0), (255, 128, 0), (255, 140, 0), (230, 120, 20)),
    "yellow": ((255, 255, 0), (255, 255, 0), (255, 220, 0), (240, 205, 40), (250, 240, 90)),
    "green": ((0, 255, 0), (0, 128, 0), (0, 128, 0), (34, 139, 34), (60, 180, 75), (0, 200, 0)),
    "blue": ((0, 0, 255), (0, 0, 255), (30, 80, 220), (65, 105, 225), (0, 0, 139), (40, 110, 200)),
    "cyan": ((0, 255, 255), (0, 255, 255), (64, 224, 208), (0, 200, 210)),
    "purple": ((128, 0, 128), (128, 0, 128), (150, 50, 200), (160, 32, 240), (100, 40, 150)),
    "pink": ((255, 192, 203), (255, 105, 180), (255, 0, 255), (255, 20, 147), (240, 150, 180)),
    "brown": ((139, 69, 19), (139, 69, 19), (120, 72, 40), (101, 67, 33), (150, 85, 45)),
    "black": ((0, 0, 0), (0, 0, 0), (0, 0, 0), (20, 20, 20), (30, 30, 30)),
    "white": ((255, 255, 255), (255, 255, 255), (255, 255, 255), (245, 245, 245)),
    "grey": ((128, 128, 128), (128, 128, 128), (105, 105, 105), (160, 160, 160), (192, 192, 192), (200, 200, 200)),
}
# The plain kinds are what people try first, so they are drawn more often.
KINDS: dict[str, float] = {
    "circle": 4, "square": 4, "triangle": 4, "rectangle": 3, "star": 2.5, "oval": 2,
    "diamond": 2, "pentagon": 1.5, "hexagon": 1.5, "cross": 1.5, "heart": 1.5,
}  # fmt: skip
BACKGROUNDS: dict[str, float] = dict.fromkeys(COLOURS, 1.0) | {"white": 9, "grey": 3, "black": 3}
ASPECTS = (1, 1, 1, 1, 4 / 3, 4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3, 9 / 16)
LARGEST = (1.0, 0.85, 0.5, 0.42, 0.38)  # side of the largest shape, by the number of shapes
MIN_CONTRAST = 90  # Euclidean distance in RGB, under which a shape could not fairly be told from what lies behind it


@dataclass(frozen=True)
class Shape:
    kind: str
    colour: str
    rgb: Rgb
    points: tuple[Point, ...]  # in pixels of the finished picture
    line_width: float  # 0: filled

    @property
    def box(self) -> tuple[float, float, float, float]:
        xs, ys = zip(*self.points, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def centre(self) -> Point:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def area(self) -> float:
        ahead = self.points[1:] + self.points[:1]
        return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(self.points, ahead, strict=True))) / 2


@dataclass(frozen=True)
class Scene:
    width: int
    height: int
    background: str
    gradient: tuple[Rgb, Rgb]  # colours of the two ends; equal on a plain background
    gradient_is_vertical: bool
    shapes: tuple[Shape, ...]  # never covering one another
    supersampling: int = 1  # 1: hard edges, as ImageDraw draws them
    blur: float = 0.0  # pixels
    noise: float = 0.0  # standard deviation, of 255
    noise_seed: int = 0
    jpeg_quality: int = 0  # 0: lossless


def draw(scene: Scene) -> Image.Image:
    """The picture, RGB."""
    zoom = scene.supersampling
    canvas = _background(scene).resize((scene.width * zoom, scene.height * zoom), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(canvas)
    for shape in scene.shapes:
        points = [(x * zoom, y * zoom) for x, y in shape.points]
        if shape.line_width:
            pen.line([*points, points[0], points[1]], shape.rgb, max(1, round(shape.line_width * zoom)), joint="curve")
        else:
            pen.polygon(points, shape.rgb)
    return _wear(canvas.reduce(zoom) if zoom > 1 else canvas, scene)


def cover(scene: Scene) -> NDArray[np.uint8]:
    """[height, width]: 0 where the background is, i + 1 inside shape i; an outlined shape owns its inside too."""
    mask = Image.new("L", (scene.width, scene.height))
    for number, shape in enumerate(scene.shapes, 1):
        ImageDraw.Draw(mask).polygon(shape.points, number)
    return np.asarray(mask)


def _background(scene: Scene) -> Image.Image:
    first, last = scene.gradient
    if first == last:
        return Image.new("RGB", (scene.width, scene.height), first)
    length = scene.height if scene.gradient_is_vertical else scene.width
    ramp = np.linspace(first, last, length).round().astype(np.uint8)
    strip = ramp[:, None] if scene.gradient_is_vertical else ramp[None]
    return Image.fromarray(np.broadcast_to(strip, (scene.height, scene.width, 3)).copy())


def _wear(image: Image.Image, scene: Scene) -> Image.Image:
    """What happens to pictures between drawing and sending."""
    if scene.blur:
        image = image.filter(ImageFilter.GaussianBlur(scene.blur))
    if scene.noise:
        grain = np.random.default_rng(scene.noise_seed).normal(0, scene.noise, (scene.height, scene.width, 1))
        image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
    if scene.jpeg_quality:
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=scene.jpeg_quality)
        image = Image.open(packed).convert("RGB")
    return image


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
    """The habits of those who draw one kind of scene."""

    backgrounds: dict[str, float]
    outlined: float = 0.0  # share of shapes
    gradients: float = 0.0  # share of backgrounds
    pure: bool = False  # each name stands for one colour only


def _tint(rng: random.Random, colour: str, manner: Manner) -> Rgb:
    if manner.pure:
        return COLOURS[colour][0]
    anchor = rng.choice(COLOURS[colour])
    spread = rng.choice((0, 0, 12))
    red, green, blue = (min(255, max(0, level + rng.randint(-spread, spread))) for level in anchor)
    return red, green, blue


def _place(rng: random.Random, size: tuple[int, int], kind: str, side: float, taken: list[Shape]) -> list[Point]:
    """Corners in pixels of a shape clear of the taken ones; empty when no room was found."""
    outline = _outline(rng, kind)
    xs, ys = zip(*outline, strict=True)
    half_width, half_height, gap = max(xs) * side + 1, max(ys) * side + 1, 0.02 * min(size)
    for _ in range(20):
        x = rng.uniform(half_width, max(half_width, size[0] - half_width))
        y = rng.uniform(half_height, max(half_height, size[1] - half_height))
        box = (x - half_width - gap, y - half_height - gap, x + half_width + gap, y + half_height + gap)
        if not any(_overlap(box, shape.box) for shape in taken):
            return [(x + dx * side, y + dy * side) for dx, dy in outline]
    return []


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _pick(rng: random.Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _shape(
    rng: random.Random,
    size: tuple[int, int],
    side: float,
    ground: tuple[str, Rgb, Rgb],
    taken: list[Shape],
    manner: Manner,
) -> Shape | None:
    """One more shape, told apart from the ground and clear of the taken ones; None when chance was against it."""
    background, *ends = ground
    kind, colour = _pick(rng, KINDS), rng.choice([name for name in COLOURS if name != background])
    rgb = _tint(rng, colour, manner)
    points = _place(rng, size, kind, side, taken)
    if not points or min(math.dist(rgb, end) for end in ends) < MIN_CONTRAST:
        return None
    line_width = max(2.0, side * rng.uniform(0.04, 0.1)) if rng.random() < manner.outlined else 0.0
    return Shape(kind, colour, rgb, tuple(points), line_width)


def _size(rng: random.Random) -> tuple[int, int]:
    aspect = rng.choice(ASPECTS) if rng.random() < 0.85 else math.exp(rng.uniform(-0.9, 0.9))
    longer = rng.choices(
        (rng.randint(100, 320), rng.choice((200, 224, 256, 300, 400, 512)), rng.choice((640, 800, 1024))), (6, 4, 1)
    )[0]
    return (longer, max(80, round(longer / aspect))) if aspect >= 1 else (max(80, round(longer * aspect)), longer)


def _shapes(
    rng: random.Random, size: tuple[int, int], wanted: int, sides: tuple[float, float], manner: Manner
) -> Scene:
    """A scene without wear: so many shapes, where there is room; `sides` are parts of the picture's shorter side."""
    background = _pick(rng, manner.backgrounds)
    first = _tint(rng, background, manner)
    last = _tint(rng, background, manner) if rng.random() < manner.gradients else first
    shapes: list[Shape] = []
    for _ in range(30):
        if len(shapes) == wanted:
            break
        side = rng.uniform(*sides) * min(size)
        if shape := _shape(rng, size, side, (background, first, last), shapes, manner):
            shapes.append(shape)
    return Scene(*size, background, (first, last), rng.random() < 0.5, tuple(shapes))


def large_scene(rng: random.Random) -> Scene:
    """One or two filled shapes as large as fit, without wear: what the tower begins with."""
    size = rng.randint(100, 180), rng.randint(100, 180)
    wanted, largest = rng.choice(((1, 0.95), (1, 0.95), (2, 0.6)))
    return _shapes(rng, size, wanted, (0.4, largest), Manner(BACKGROUNDS, gradients=0.15))


def plain_scene(rng: random.Random) -> Scene:
    """What people draw first to try a model: pure colours on white, grey or black, hard edges."""
    size = rng.choice((200, 256, 300, 320, 400)), rng.choice((200, 240, 256, 300, 400))
    wanted = rng.choice((1, 1, 2, 2, 3))
    backgrounds = {"white": 4.0, "black": 1.0, "grey": 1.0}
    return _shapes(rng, size, wanted, (0.22, LARGEST[wanted]), Manner(backgrounds, outlined=0.05, pure=True))


def shapes_scene(rng: random.Random) -> Scene:
    """None to four shapes, 18 to 85 % of the picture each, in all colours and states of wear."""
    size = _size(rng)
    wanted = rng.choices((0, 1, 2, 3, 4), (2, 35, 32, 19, 12))[0]
    scene = _shapes(rng, size, wanted, (0.18, LARGEST[wanted]), Manner(BACKGROUNDS, outlined=0.12, gradients=0.15))
    return replace(
        scene,
        supersampling=1 if max(size) > 320 else rng.choice((1, 1, 2, 3)),
        blur=rng.uniform(0.3, 0.004 * min(size) + 0.3) if rng.random() < 0.1 else 0.0,
        noise=rng.uniform(1, 10) if rng.random() < 0.12 else 0.0,
        noise_seed=rng.getrandbits(32),
        jpeg_quality=rng.randint(40, 95) if rng.random() < 0.3 else 0,
    )


SCENES: dict[str, Callable[[random.Random], Scene]] = {
    "large": large_scene, "plain": plain_scene, "shapes": shapes_scene,
}  # fmt: skip


def make_scene(kind: str, seed: int, index: int) -> Scene:
    """Sample `index` of `seed`: always the same scene."""
    return SCENES[kind](random.Random(f"{kind}/{seed}/{index}"))
