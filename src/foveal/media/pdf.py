"""The pages of a PDF as pictures. Runs where a crash or a hang costs one page only, as all decoding does.

PDFium draws them; it is imported with the first PDF. Scripts and forms are not run. Knows nothing of requests.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

from foveal.media.refusal import Refused
from foveal.types import Page, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pypdfium2
    from PIL import Image

SIGNATURE = b"%PDF-"
_MAX_JUNK_BYTES = 1024  # before the signature, as readers allow
_POINTS = 72  # a PDF's unit is 1/72 inch
_DAMAGED = "the PDF is damaged; save it again, or send its pages as pictures"
_LOCKED = "the PDF is protected by a password; save it without one"
_NO_PAGE = "the PDF has no page {number}; it has {num_pages}"


def is_pdf(encoded: bytes) -> bool:
    return SIGNATURE in encoded[:_MAX_JUNK_BYTES]


def count_pages(encoded: bytes) -> int:
    """At least 1. Raises Refused."""
    with _opened(encoded) as document:
        num_pages = len(document)
    if num_pages < 1:
        raise Refused(_DAMAGED)
    return num_pages


def measure(encoded: bytes, page: Page) -> Size:
    """The size of the page's picture. Raises Refused."""
    with _opened_page(encoded, page) as opened:
        return _size(opened, page)


def draw(encoded: bytes, page: Page) -> Image.Image:
    """The page in mode RGB, on white. Raises Refused."""
    with _opened_page(encoded, page) as opened:
        size = _size(opened, page)
        width, height = opened.get_size()
        scale = max(size.width / width, size.height / height)
        bitmap = opened.render(scale=scale, fill_color=(255, 255, 255, 255))
        picture: Image.Image = bitmap.to_pil().convert("RGB")
    return picture if picture.size == size else picture.resize(size)


def _size(opened: pypdfium2.PdfPage, page: Page) -> Size:
    """At the page's resolution, or at the largest that keeps to its pixels."""
    width, height = opened.get_size()  # of the upright page
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise Refused(_DAMAGED)
    scale = min(page.dpi / _POINTS, math.sqrt(page.max_pixels / (width * height)))
    return Size(max(1, math.floor(width * scale)), max(1, math.floor(height * scale)))


@contextlib.contextmanager
def _opened_page(encoded: bytes, page: Page) -> Iterator[pypdfium2.PdfPage]:
    with _opened(encoded) as document:
        if page.number > len(document):
            raise Refused(_NO_PAGE.format(number=page.number, num_pages=len(document)))
        opened = document[page.number - 1]
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def _opened(encoded: bytes) -> Iterator[pypdfium2.PdfDocument]:
    """Errors of the library as Refused: their messages are not for the client."""
    try:
        import pypdfium2
    except ImportError:
        raise Refused("PDFs are not read here: pypdfium2 is not installed; send pages as pictures") from None
    try:
        document = pypdfium2.PdfDocument(encoded)
        try:
            yield document
        finally:
            document.close()
    except pypdfium2.PdfiumError as error:
        is_locked = getattr(error, "err_code", None) == pypdfium2.raw.FPDF_ERR_PASSWORD
        raise Refused(_LOCKED if is_locked else _DAMAGED) from None
