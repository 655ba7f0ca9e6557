"""The fixed questions and pictures. They are drawn, not stored: the same on every machine."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    question: str
    sizes: tuple[tuple[int, int], ...] = ()  # of its pictures, width and height


CASES = (
    Case("text", "Name three colours, and say which one you like best."),
    Case("one picture", "What is in this picture?", ((640, 480),)),
    Case("a tall picture", "Describe this in one sentence.", ((210, 700),)),
    Case("a wide picture", "Which colours do you see?", ((1200, 260),)),
    Case("a small picture", "What is this?", ((48, 40),)),
    Case("three pictures", "How do these pictures differ?", ((320, 320), (200, 500), (700, 300))),
)


def cases_for(supports_images: bool) -> tuple[Case, ...]:
    return tuple(case for case in CASES if supports_images or not case.sizes)


def pictures(case: Case) -> list[Picture]:
    """Coloured shapes before a slope of grey, so that every patch has something to see."""
    return [_draw(width, height, index) for index, (width, height) in enumerate(case.sizes)]


def as_png(picture: Picture) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _draw(width: int, height: int, index: int) -> Picture:
    from PIL import Image, ImageDraw

    colours = ("crimson", "royalblue", "seagreen", "orange")
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    side = min(width, height) // 3
    for place in range(3):
        left, top = (width - side) * place // 2, (height - side) * ((place + index) % 3) // 2
        box = (left, top, left + side, top + side)
        shape = draw.ellipse if (place + index) % 2 else draw.rectangle
        shape(box, fill=colours[(place + index) % len(colours)])
    return picture
