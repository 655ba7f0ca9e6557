"""A picture as data: a frozen `Scene`. `draw` makes its pixels; the covers say which thing each pixel belongs to.

Random choices are made only when a scene is made (shapes.py, writing.py, charts.py, photos.py), so that drawing is a
pure function. Knows nothing of questions, tokens or models.
"""

import io
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from training.colours import Rgb

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Shape:
    kind: str
    colour: str
    rgb: Rgb
    points: tuple[Point, ...]  # in pixels of the finished picture
    line_width: float = 0.0  # 0: filled

    @property
    def box(self) -> Box:
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
class Writing:
    """One line of text."""

    text: str
    colour: str
    rgb: Rgb
    font: str  # a file
    size: float  # of an em, in pixels
    centre: Point  # of its ink
    degrees: float = 0.0  # counter-clockwise

    def ink(self) -> tuple[float, float]:
        """Width and height of the unturned ink, in pixels."""
        left, top, right, bottom = face(self.font, self.size).getbbox(self.text)
        return right - left, bottom - top

    def letters(self) -> list[tuple[str, tuple[Point, ...]]]:
        """Each visible character with the four corners of its ink, in pixels of the picture."""
        font = face(self.font, self.size)
        left, top, right, bottom = font.getbbox(self.text)
        found = []
        for number, character in enumerate(self.text):
            if character != " ":
                start = font.getlength(self.text[:number])
                x0, y0, x1, y1 = font.getbbox(character)
                corners = ((start + x0, y0), (start + x1, y0), (start + x1, y1), (start + x0, y1))
                middle = (left + right) / 2, (top + bottom) / 2
                found.append((character, tuple(self._placed(corner, middle) for corner in corners)))
        return found

    def box(self) -> Box:
        corners = [corner for _, corners in self.letters() for corner in corners]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def _placed(self, point: Point, middle: Point) -> Point:
        x, y = point[0] - middle[0], point[1] - middle[1]
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        return self.centre[0] + x * cos + y * sin, self.centre[1] - x * sin + y * cos


@dataclass(frozen=True)
class Line:
    """A line without meaning: of an axis, a grid or a scribble."""

    start: Point
    end: Point
    rgb: Rgb
    width: float


@dataclass(frozen=True)
class Texture:
    """A background of smooth noise between colours, like an unfocused photograph."""

    colours: tuple[Rgb, ...]
    cells: int  # along the longer side, of the coarsest noise
    octaves: int
    seed: int
    bands: float = 0.0  # how much the colours depend on the height, as of sky and ground


@dataclass(frozen=True)
class Photograph:
    """A part of a picture in a file; the background shows where it is transparent."""

    file: str
    part: Box  # of its width and height
    is_mirrored: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Of the part, in pixels, as it is opened."""
        return self.open().size

    def open(self) -> Image.Image:
        """RGBA."""
        whole = _opened(self.file)
        left, top, right, bottom = self.part
        part = whole.crop(
            (int(left * whole.width), int(top * whole.height), int(right * whole.width), int(bottom * whole.height))
        )
        return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.is_mirrored else part


@lru_cache(256)
def _opened(file: str) -> Image.Image:
    """RGBA, no side longer than 640 pixels."""
    with Image.open(file) as image:
        image.draft("RGB", (640, 640))
        opened = image.convert("RGBA")
    opened.thumbnail((640, 640))
    return opened


@dataclass(frozen=True)
class Chart:
    """The content of a bar chart. Its bars are the scene's shapes, in the same order."""

    labels: tuple[str, ...]
    values: tuple[int, ...]
    is_horizontal: bool
    shows_values: bool  # at the bars
    title: str = ""
    ticks: tuple[int, ...] = ()  # numbers along the axis, from 0
    is_framed: bool = False  # on all four sides
    is_legible: bool = True  # whether its writing is large enough to be read


@dataclass(frozen=True)
class Scene:
    width: int
    height: int
    background: str
    gradient: tuple[Rgb, Rgb]  # colours of the two ends; equal on a plain background
    gradient_is_vertical: bool
    shapes: tuple[Shape, ...]  # never covering one another
    writings: tuple[Writing, ...] = ()  # from top to bottom, not over shapes, except in charts
    lines: tuple[Line, ...] = ()  # under the rest
    texture: Texture | None = None  # in place of the background
    photograph: Photograph | None = None  # on the background
    chart: Chart | None = None
    photo_colours: tuple[str, ...] = ()  # of a photograph, the largest share first
    supersampling: int = 1  # 1: hard edges, as ImageDraw draws them
    blur: float = 0.0  # pixels
    noise: float = 0.0  # standard deviation, of 255
    noise_seed: int = 0
    jpeg_quality: int = 0  # 0: lossless

    @property
    def text(self) -> str:
        return " ".join(writing.text for writing in self.writings)

    @property
    def ink_colours(self) -> tuple[str, ...]:
        """The colours of writings, each once."""
        return tuple(dict.fromkeys(writing.colour for writing in self.writings))


@lru_cache(512)
def face(font: str, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font, size, layout_engine=ImageFont.Layout.BASIC)


def draw(scene: Scene) -> Image.Image:
    """The picture, RGB."""
    zoom = scene.supersampling
    canvas = background(scene).resize((scene.width * zoom, scene.height * zoom), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(canvas)
    for line in scene.lines:
        ends = [(x * zoom, y * zoom) for x, y in (line.start, line.end)]
        pen.line(ends, line.rgb, max(1, round(line.width * zoom)))
    for shape in scene.shapes:
        points = [(x * zoom, y * zoom) for x, y in shape.points]
        if shape.line_width:
            pen.line([*points, points[0], points[1]], shape.rgb, max(1, round(shape.line_width * zoom)), joint="curve")
        else:
            pen.polygon(points, shape.rgb)
    for writing in scene.writings:
        _write(canvas, writing, zoom)
    return wear(canvas.reduce(zoom) if zoom > 1 else canvas, scene)


def cover(scene: Scene) -> NDArray[np.uint8]:
    """[height, width]: 0 on the background, i + 1 inside shape i, also if only its outline is drawn."""
    return _owned(scene, [shape.points for shape in scene.shapes])


def letter_cover(scene: Scene) -> tuple[NDArray[np.uint8], list[tuple[str, str]]]:
    """[height, width]: 0 without writing, i + 1 in the box of character i; and the characters with their colours."""
    letters = [(*letter, writing.colour) for writing in scene.writings for letter in writing.letters()]
    mask = _owned(scene, [corners for _, corners, _ in letters])
    return mask, [(character, colour) for character, _, colour in letters]


def _owned(scene: Scene, polygons: list[tuple[Point, ...]]) -> NDArray[np.uint8]:
    mask = Image.new("L", (scene.width, scene.height))
    pen = ImageDraw.Draw(mask)
    for number, points in enumerate(polygons, 1):
        pen.polygon(points, number)
    return np.asarray(mask)


def background(scene: Scene) -> Image.Image:
    """The background: one colour, a gradient, a texture or a photograph."""
    first, last = scene.gradient
    if scene.photograph:
        photo = scene.photograph.open().resize((scene.width, scene.height))
        return Image.alpha_composite(Image.new("RGBA", photo.size, first), photo).convert("RGB")
    if scene.texture:
        return _textured(scene.width, scene.height, scene.texture)
    if first == last:
        return Image.new("RGB", (scene.width, scene.height), first)
    length = scene.height if scene.gradient_is_vertical else scene.width
    ramp = np.linspace(first, last, length).round().astype(np.uint8)
    strip = ramp[:, None] if scene.gradient_is_vertical else ramp[None]
    return Image.fromarray(np.broadcast_to(strip, (scene.height, scene.width, 3)).copy())


def _textured(width: int, height: int, texture: Texture) -> Image.Image:
    rng = np.random.default_rng(texture.seed)
    level = np.linspace(0, texture.bands, height)[:, None].repeat(width, 1)
    for octave in range(texture.octaves):
        cells = texture.cells << octave
        grain = rng.random((max(2, cells * height // max(width, height)), max(2, cells * width // max(width, height))))
        coarse = Image.fromarray(grain.astype(np.float32))
        level = level + np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / 1.8**octave
    level = (level - level.min()) / max(1e-6, float(level.max() - level.min())) * (len(texture.colours) - 1)
    stops = np.arange(len(texture.colours))
    channels = [np.interp(level, stops, [rgb[channel] for rgb in texture.colours]) for channel in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def _write(canvas: Image.Image, writing: Writing, zoom: int) -> None:
    font = face(writing.font, writing.size * zoom)
    left, top, right, bottom = (int(side) for side in font.getbbox(writing.text))
    mask = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(mask).text((1 - left, 1 - top), writing.text, 255, font)
    if writing.degrees:
        mask = mask.rotate(writing.degrees, Image.Resampling.BICUBIC, expand=True)
    corner = (
        round(writing.centre[0] * zoom - mask.width / 2),
        round(writing.centre[1] * zoom - mask.height / 2),
    )
    canvas.paste(writing.rgb, corner, mask)


def wear(image: Image.Image, scene: Scene) -> Image.Image:
    """The image after what happens between drawing and sending: blur, noise, JPEG."""
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
