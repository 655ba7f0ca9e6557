"""The pages of PDFs as pictures: their sizes and colours, and what cannot be drawn."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from foveal.arena import PixelArena
from foveal.media import pdf
from foveal.media.protocol import CountPages, Done, Measure, Measured, Pages, Prepare, Refusal
from foveal.media.refusal import Refused
from foveal.media.worker import answer
from foveal.types import Page, PixelRef, Size
from tests.media import pdfs
from tests.media.tiny import TinyProcessor

pytest.importorskip("pypdfium2")

PAGE = Page(1, dpi=144, max_pixels=1_000_000)
WHITE = (255, 255, 255)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def test_pages_are_counted() -> None:
    assert pdf.count_pages(pdfs.pdf("red", "green", "blue")) == 3


@pytest.mark.parametrize(
    ("page", "size", "rotate", "expected"),
    [
        (PAGE, (72, 144), 0, Size(144, 288)),
        (PAGE, (72, 144), 90, Size(288, 144)),
        (PAGE._replace(dpi=72), (72, 144), 0, Size(72, 144)),
        (PAGE._replace(max_pixels=5000), (72, 144), 0, Size(50, 100)),
        (PAGE, (14_400, 14_400), 0, Size(1000, 1000)),
        (PAGE, (3, 1), 0, Size(6, 2)),
        (PAGE._replace(dpi=10), (3, 1), 0, Size(1, 1)),
    ],
)
def test_a_page_has_its_resolution_or_what_its_pixels_allow(
    page: Page, size: tuple[int, int], rotate: int, expected: Size
) -> None:
    encoded = pdfs.pdf("red", size=size, rotate=rotate)
    assert pdf.measure(encoded, page) == expected
    assert pdf.draw(encoded, page).size == expected


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_page_is_drawn_on_white(number: int) -> None:
    names = ("red", "green", "blue")
    pixels = np.asarray(pdf.draw(pdfs.pdf(*names), PAGE._replace(number=number)))
    assert pixels.shape == (288, 144, 3)
    assert np.all(pixels[:140] == WHITE)
    assert np.all(pixels[148:] == COLOURS[names[number - 1]])


def test_a_rotated_page_is_drawn_upright() -> None:
    pixels = np.asarray(pdf.draw(pdfs.pdf("red", rotate=90), PAGE))
    assert np.all(pixels[:, :140] == COLOURS["red"])  # what was below is on the left
    assert np.all(pixels[:, 148:] == WHITE)


@pytest.mark.parametrize(
    ("encoded", "sentence"),
    [
        (b"%PDF-1.7\nnothing", "the PDF is damaged"),
        (b"%PDF-1.7\n" + bytes(1000), "the PDF is damaged"),
        (pdfs.pdf(), "the PDF is damaged"),
        (pdfs.pdf("red", locked=True), "protected by a password"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_words(encoded: bytes, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        pdf.count_pages(encoded)


def test_a_page_that_is_not_there_is_named() -> None:
    with pytest.raises(Refused, match="has no page 2; it has 1"):
        pdf.measure(pdfs.pdf("red"), PAGE._replace(number=2))


def test_a_cut_file_is_refused_or_drawn_and_nothing_else() -> None:
    whole = pdfs.pdf("red", "green")
    for end in range(20, len(whole), 97):
        with contextlib.suppress(Refused):
            assert pdf.draw(whole[:end], PAGE).size == (144, 288)


def test_a_worker_counts_measures_and_draws() -> None:
    encoded, arena, processor = pdfs.pdf("red"), PixelArena.create(4096), TinyProcessor()
    page = Page(1, 18, 1_000_000)
    pixels = PixelRef(0, processor.layout(Size(18, 36), "auto").pixel_shape)
    assert answer(CountPages(encoded), processor, arena, 1000) == Pages(1)
    measured = answer(Measure(encoded, page), processor, arena, 1000)
    assert isinstance(measured, Measured)
    assert measured.size == Size(18, 36)
    layout = processor.layout(measured.size, "auto")
    assert answer(Prepare(encoded, layout, pixels, page), processor, arena, 1000) == Done(measured.size)
    assert arena.view(pixels).any()
    assert isinstance(answer(CountPages(b"%PDF-"), processor, arena, 1000), Refusal)
