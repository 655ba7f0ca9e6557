"""Draws the pictures of the blind evaluation, with matplotlib or with ImageMagick, as PNG files."""

import functools
import io
import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, Patch, Polygon

COLORS = {
    "red": "#dc2828",
    "blue": "#2850dc",
    "green": "#28a03c",
    "yellow": "#f5cd00",
    "orange": "#fa8214",
    "purple": "#8c32b4",
}
GROUNDS = {"white": "#ffffff", "black": "#000000", "light gray": "#dcdcdc", "cream": "#f5efdc"}
SHAPES = ("circle", "square", "triangle", "star")
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSansMono")
TOOLS = ("matplotlib", "imagemagick")


@dataclass(frozen=True)
class Item:
    """A shape; its centre and its radius are parts of the picture's side, with y from the top."""

    shape: str
    color: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """Shapes on a plain ground."""

    items: tuple[Item, ...]
    ground: str = "white"
    side: int = 384


@dataclass(frozen=True)
class Chart:
    """Bars without names: a colour and a height from 0 to 1 each, standing or lying (from the top down)."""

    colors: tuple[str, ...]
    heights: tuple[float, ...]
    lying: bool = False
    axes: bool = True


@dataclass(frozen=True)
class Print:
    """Words in rows on a plain ground, each with its colour; blurred by so many pixels."""

    words: tuple[tuple[str, str], ...]
    font: str = "DejaVuSans"
    points: int = 64
    ground: str = "white"
    blur: int = 0


@functools.cache
def imagemagick() -> str:
    """The program of ImageMagick."""
    for name in ("magick", "convert"):
        path = shutil.which(name)
        if path and b"ImageMagick" in subprocess.run([path, "--version"], capture_output=True, check=False).stdout:
            return path
    raise SystemExit("ImageMagick is missing: apt-get install imagemagick")


def magick(*arguments: str) -> bytes:
    """What ImageMagick draws, as a PNG that is the same each time."""
    plain = ("-strip", "-depth", "8", "-define", "png:exclude-chunks=date,time", "png:-")
    return subprocess.run([imagemagick(), *arguments, *plain], capture_output=True, check=True).stdout


def font_file(font: str) -> str:
    """A font that comes with matplotlib, so that both tools have it everywhere."""
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf")


def corners(item: Item) -> list[tuple[float, float]]:
    """The corners of a square, a triangle or a star."""
    x, y, r = item.x, item.y, item.radius
    if item.shape == "square":
        r *= 0.88
        return [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]
    if item.shape == "triangle":
        return [(x, y - r), (x + r, y + 0.8 * r), (x - r, y + 0.8 * r)]
    spokes = [(r if i % 2 == 0 else 0.42 * r, math.pi * i / 5) for i in range(10)]
    return [(x + length * math.sin(angle), y - length * math.cos(angle)) for length, angle in spokes]


def figure(side: int, ground: str) -> Figure:
    """An empty picture of matplotlib."""
    made = Figure(figsize=(side / 100, side / 100), dpi=100, facecolor=ground)
    FigureCanvasAgg(made)
    return made


def png(made: Figure) -> bytes:
    """The PNG of a picture of matplotlib."""
    out = io.BytesIO()
    made.savefig(out, format="png", dpi=100, facecolor=made.get_facecolor(), metadata={"Software": None})
    return out.getvalue()


def draw_scene(scene: Scene, tool: str) -> bytes:
    """The shapes, by either tool."""
    ground = GROUNDS[scene.ground]
    if tool == "imagemagick":
        size = scene.side
        drawn: list[str] = ["-size", f"{size}x{size}", f"xc:{ground}"]
        for item in scene.items:
            x, y, r = item.x * size, item.y * size, item.radius * size
            points = " ".join(f"{px * size:.1f},{py * size:.1f}" for px, py in corners(item))
            shape = f"circle {x:.1f},{y:.1f} {x + r:.1f},{y:.1f}" if item.shape == "circle" else f"polygon {points}"
            drawn += ["-fill", COLORS[item.color], "-draw", shape]
        return magick(*drawn)
    made = figure(scene.side, ground)
    axes = made.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    for item in scene.items:
        color = COLORS[item.color]
        patch: Patch = (
            Circle((item.x, item.y), item.radius, color=color)
            if item.shape == "circle"
            else Polygon(corners(item), closed=True, color=color)
        )
        axes.add_patch(patch)
    return png(made)


def draw_chart(chart: Chart, tool: str) -> bytes:
    """The bars, by either tool; those that lie, by matplotlib alone."""
    colors = [COLORS[color] for color in chart.colors]
    if tool == "imagemagick" and not chart.lying:
        return magick(*magick_bars(colors, chart.heights))
    made = figure(400, "#ffffff")
    axes = made.add_subplot()
    places = range(len(colors))
    if chart.lying:
        axes.barh(places, chart.heights, color=colors)
        axes.invert_yaxis()
        axes.set_yticks([])
    else:
        axes.bar(places, chart.heights, color=colors)
        axes.set_xticks([])
    if not chart.axes:
        axes.set_xticks([])
        axes.set_yticks([])
        for name in ("top", "right"):
            axes.spines[name].set_visible(False)
    return png(made)


def magick_bars(colors: Sequence[str], heights: Sequence[float]) -> list[str]:
    """ImageMagick's arguments for bars on a line."""
    step = 360 / len(colors)
    drawn = ["-size", "400x320", "xc:white"]
    for i, (color, height) in enumerate(zip(colors, heights, strict=True)):
        left = 20 + step * (i + 0.15)
        box = f"rectangle {left:.0f},{300 - 270 * height:.0f} {left + 0.7 * step:.0f},300"
        drawn += ["-fill", color, "-draw", box]
    return [*drawn, "-fill", "black", "-draw", "line 15,300 385,300"]


def draw_print(text: Print, tool: str) -> bytes:
    """The words, by either tool; those that are blurred, by ImageMagick alone."""
    inks = COLORS | {"black": "#000000", "white": "#ffffff"}
    rows = len(text.words)
    if tool == "imagemagick" or text.blur:
        drawn = ["-size", "448x256", f"xc:{GROUNDS[text.ground]}", "-font", font_file(text.font), "-gravity", "center"]
        for row, (word, color) in enumerate(text.words):
            down = 110 * (row - (rows - 1) / 2)
            drawn += ["-pointsize", str(text.points), "-fill", inks[color], "-annotate", f"+0{down:+.0f}", word]
        if text.blur:
            drawn += ["-blur", f"0x{text.blur}"]
        return magick(*drawn)
    made = figure(384, GROUNDS[text.ground])
    for row, (word, color) in enumerate(text.words):
        down = 0.3 * (row - (rows - 1) / 2)
        font = FontProperties(fname=font_file(text.font), size=text.points * 0.72)
        made.text(0.5, 0.5 - down, word, color=inks[color], ha="center", va="center", fontproperties=font)
    return png(made)


def draw_plot(kind: str, seed: int) -> bytes:
    """A pie chart, a line chart, or dots: no bars."""
    made = figure(400, "#ffffff")
    axes = made.add_subplot()
    values = [1 + (seed * (i + 3) * 7 + i * i * 5) % 9 for i in range(6)]
    if kind == "pie":
        axes.pie(values[:4], colors=[COLORS[name] for name in ("red", "blue", "green", "yellow")])
    elif kind == "line":
        axes.plot(range(6), values, color="#2850dc", linewidth=3)
    else:
        axes.scatter([*values, *values[::-1]], [*values[2:], *values[:2], *range(1, 7)], color="#dc2828")
    return png(made)


def draw_other(kind: str, seed: int) -> bytes:
    """What ImageMagick brings along: a photo of a rose, a drawing of a wizard, granite, clouds, noise."""
    sized = ("-size", "320x320", "-seed", str(seed))
    if kind == "clouds":
        return magick(*sized, "plasma:fractal", "-blur", "0x2")
    if kind == "noise":
        return magick(*sized, "xc:gray", "+noise", "Random")
    return magick(f"{kind}:", "-resize", "320x320!")
