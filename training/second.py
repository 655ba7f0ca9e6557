"""Draws scenes with another library, matplotlib's Agg, so that the evaluation does not depend on Pillow's rendering.

Shapes and writing are where the scene has them; matplotlib lays a bar chart out from its data alone.
"""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Polygon
from PIL import Image

from training.colours import Rgb
from training.scene import Scene, background, wear

DPI = 100.0


def draw_again(scene: Scene) -> Image.Image:
    """The picture, RGB, of the scene's size."""
    figure = Figure(figsize=(scene.width / DPI, scene.height / DPI), dpi=DPI)
    (_draw_chart if scene.chart else _draw_things)(figure, scene)
    packed = io.BytesIO()
    figure.savefig(packed, format="png", dpi=DPI)
    return wear(Image.open(packed).convert("RGB"), scene)


def _colour(rgb: Rgb) -> tuple[float, float, float]:
    red, green, blue = (level / 255 for level in rgb)
    return red, green, blue


def _draw_things(figure: Figure, scene: Scene) -> None:
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    _ground(axes, scene)
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    for line in scene.lines:
        axes.plot(*zip(line.start, line.end, strict=True), color=_colour(line.rgb), linewidth=line.width * 72 / DPI)
    for shape in scene.shapes:
        axes.add_patch(
            Polygon(
                shape.points,
                facecolor="none" if shape.line_width else _colour(shape.rgb),
                edgecolor=_colour(shape.rgb),
                linewidth=shape.line_width * 72 / DPI,
            )
        )
    for writing in scene.writings:
        font = FontProperties(fname=writing.font, size=writing.size * 72 / DPI)
        axes.text(
            *writing.centre, writing.text.replace("$", r"\$"), color=_colour(writing.rgb), fontproperties=font,
            rotation=writing.degrees, ha="center", va="center",
        )  # fmt: skip


def _ground(axes: Axes, scene: Scene) -> None:
    axes.imshow(np.asarray(background(scene)), extent=(0, scene.width, scene.height, 0), aspect="auto")


def _draw_chart(figure: Figure, scene: Scene) -> None:
    chart = scene.chart
    assert chart
    colours, front = [_colour(bar.rgb) for bar in scene.shapes], _colour(scene.writings[0].rgb)
    font = FontProperties(fname=scene.writings[0].font, size=scene.writings[0].size * 72 / DPI)
    figure.set_facecolor(_colour(scene.gradient[0]))
    axes = figure.add_subplot()
    axes.set_facecolor(_colour(scene.gradient[0]))
    if chart.is_horizontal:
        bars = axes.barh(chart.labels, chart.values, color=colours)
        axes.invert_yaxis()
    else:
        bars = axes.bar(chart.labels, chart.values, color=colours)
    if not chart.ticks:
        (axes.set_xticks if chart.is_horizontal else axes.set_yticks)([])
    if chart.shows_values:
        axes.bar_label(bars, padding=2, fontproperties=font, color=front)
        axes.margins(x=0.2) if chart.is_horizontal else axes.margins(y=0.2)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(font)
    axes.tick_params(colors=front)
    for side, spine in axes.spines.items():
        spine.set_color(front)
        spine.set_visible(chart.is_framed or side in ("left", "bottom"))
    if chart.title:
        axes.set_title(chart.title, fontproperties=font, color=front)
    figure.tight_layout(pad=0.4)
