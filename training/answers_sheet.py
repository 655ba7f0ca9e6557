"""Draws pictures with their questions and answers on one sheet."""

import textwrap

from PIL import Image, ImageDraw, ImageFont

from training.tasks import Sample

CELL = (300, 330)  # pixels
PICTURE = 190
COLUMNS = 4


def draw_sheet(answered: list[tuple[Sample, str]]) -> Image.Image:
    rows = -(-len(answered) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL[0], max(1, rows) * CELL[1]), "white")
    for number, (sample, answer) in enumerate(answered):
        left, top = number % COLUMNS * CELL[0], number // COLUMNS * CELL[1]
        _show(sheet, sample, left, top)
        lines = [f"asked: {' - '.join(sample.said)}", f"said: {answer}", f"right: {sample.answer}"]
        text = "\n".join(line for words in lines for line in textwrap.wrap(words, 42))
        ImageDraw.Draw(sheet).text((left + 8, top + PICTURE + 12), text, "black", ImageFont.load_default(13))
    return sheet


def _show(sheet: Image.Image, sample: Sample, left: int, top: int) -> None:
    """The sample's pictures side by side, as large as fits."""
    shown = sample.pictures
    room = (CELL[0] - 16) // max(1, len(shown))
    for place, picture in enumerate(shown):
        picture.thumbnail((room - 4, PICTURE))
        corner = left + 8 + place * room, top + 8
        sheet.paste(picture, corner)
        ImageDraw.Draw(sheet).rectangle(
            (*corner, corner[0] + picture.width, corner[1] + picture.height), outline="grey"
        )
