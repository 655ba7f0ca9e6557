"""Files -> what stands for them in a message: text, or the pages of a PDF. Pure functions.

Opens nothing: a PDF's pages are counted and drawn by the image workers.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from foveal.media.refusal import Refused
from foveal.types import ImageRef, Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foveal.config import ImageConfig
    from foveal.types import File

_NOT_READ = "neither a PDF nor plain text; send a picture as an image, and other documents as a PDF"
_PARAGRAPH = "\n\n"
_CONTROLS = {*map(chr, range(32))} - {*"\t\n\v\f\r\x1b"}  # which no text has


def read_text(encoded: bytes, file: File | None) -> str:
    """The text of a file between its name and what follows. UTF-8, or UTF-16 with its mark. Raises Refused."""
    is_utf_16 = encoded.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = encoded.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise Refused(_NOT_READ) from None
    if not text.strip():
        raise Refused("the file is empty")
    if not _CONTROLS.isdisjoint(text):
        raise Refused(_NOT_READ)
    name = f"{file.name}{_PARAGRAPH}" if file is not None and file.name else ""
    return name + text + _PARAGRAPH


def pages_of(ref: ImageRef, encoded: bytes, num_pages: int, config: ImageConfig) -> Iterator[ImageRef]:
    """A reference to each page that is wanted. Raises Refused."""
    assert ref.file is not None
    first, last = ref.file.pages or (1, num_pages)
    if last > num_pages:
        raise Refused(f"the PDF has no page {last}; it has {num_pages}")
    if last - first >= config.max_num_images:
        raise Refused(
            f"{last - first + 1:,} pages are too many: a request may have at most {config.max_num_images} images; name "
            f'some with pages, such as "{first}-{first + config.max_num_images - 1}"'
        )
    max_pixels = min(config.max_image_pixels, config.max_request_pixels // config.max_num_images)
    for number in range(first, last + 1):
        yield ImageRef(encoded, ref.position, ref.detail, Page(number, config.pdf_dpi, max_pixels))
