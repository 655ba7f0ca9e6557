"""Files become text or pages, in the loader and in words."""

from __future__ import annotations

import pytest

from foveal.config import ImageConfig
from foveal.errors import FileError, ImageError
from foveal.media.files import pages_of, read_text
from foveal.media.refusal import Refused
from foveal.types import Caller, File, ImageRef, Page
from tests.media import pdfs
from tests.media.builders import data_url, image_loader, png
from tests.media.host import Page as Hosted
from tests.media.host import serving

anyio = pytest.mark.anyio
NOTES = File("notes.txt")


@pytest.mark.parametrize(
    ("encoded", "file", "text"),
    [
        ("Grüße\n".encode(), NOTES, "notes.txt\n\nGrüße\n\n\n"),
        ("Grüße".encode("utf-16"), File(), "Grüße\n\n"),
        (b"\xef\xbb\xbfa", None, "a\n\n"),
        (b"a\tb\x1b[0m\r\n", None, "a\tb\x1b[0m\r\n\n\n"),
    ],
)
def test_a_text_stands_behind_its_name(encoded: bytes, file: File | None, text: str) -> None:
    assert read_text(encoded, file) == text


@pytest.mark.parametrize(
    ("encoded", "sentence"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"PK\x03\x04\x14\x00", "neither a PDF nor plain text"),
        (png(), "neither a PDF nor plain text"),
        ("Grüße".encode("latin-1"), "neither a PDF nor plain text"),
    ],
)
def test_what_is_no_text_is_refused_in_words(encoded: bytes, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        read_text(encoded, None)


def numbers(pages: tuple[int, int] | None, num_pages: int) -> list[int]:
    ref = ImageRef("", 1, file=File(pages=pages))
    return [found.page.number for found in pages_of(ref, b"", num_pages, ImageConfig()) if found.page]


@pytest.mark.parametrize(
    ("pages", "num_pages", "expected"),
    [(None, 3, [1, 2, 3]), ((2, 3), 5, [2, 3]), ((4, 4), 4, [4]), ((71, 100), 100, [*range(71, 101)])],
)
def test_the_pages_that_are_wanted(pages: tuple[int, int] | None, num_pages: int, expected: list[int]) -> None:
    assert numbers(pages, num_pages) == expected


@pytest.mark.parametrize(
    ("pages", "num_pages", "sentence"),
    [
        (None, 31, '31 pages are too many.*such as "1-30"'),
        ((5, 40), 100, '36 pages are too many.*such as "5-34"'),
        ((2, 4), 3, "no page 4; it has 3"),
    ],
)
def test_more_pages_than_images_are_allowed_are_refused(
    pages: tuple[int, int] | None, num_pages: int, sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        numbers(pages, num_pages)


@anyio
async def test_a_pdf_is_read_from_base64_or_a_url_and_its_pages_are_images() -> None:
    pytest.importorskip("pypdfium2")
    encoded = pdfs.pdf("red", "green")
    async with serving({"/a.pdf": Hosted(encoded)}) as host, image_loader(num_workers=1) as bench:
        for source in (data_url(encoded, "application/pdf"), host.url("/a.pdf")):
            parts = await bench.loader.read_file(ImageRef(source, 1, "low", file=File()))
            pages = [part for part in parts if isinstance(part, ImageRef)]
            assert [(page.source, page.detail, page.page) for page in pages] == [
                (encoded, "low", Page(number, 144.0, 200_000_000 // 30)) for number in (1, 2)
            ]
            async with bench.loader.load(pages) as images:
                assert [image.layout.size for image in images] == [(144, 288)] * 2
                assert images[0].hash != images[1].hash


@anyio
async def test_a_file_that_cannot_be_used_is_named_by_its_position() -> None:
    async with image_loader(num_workers=1, max_file_bytes=1000) as bench:
        for encoded, sentence in ((png(), "neither a PDF"), (b"a" * 1001, "1,000 bytes"), (b"%PDF-", "PDF")):
            with pytest.raises(FileError, match=rf"^file 3: .*{sentence}"):
                await bench.loader.read_file(ImageRef(data_url(encoded), 3, file=File()), Caller())


@anyio
async def test_a_page_that_cannot_be_drawn_is_named_as_the_page_of_a_pdf() -> None:
    """The client sent a file, and counts no images."""
    async with image_loader(num_workers=1) as bench:
        with pytest.raises(ImageError, match=r"^image 3: page 2 of a PDF: "):
            async with bench.loader.load([ImageRef(b"%PDF-", 3, page=Page(2, 144.0, 1000))]):
                pass


@anyio
async def test_a_pdf_as_an_image_is_told_to_come_as_a_file() -> None:
    async with image_loader(num_workers=0) as bench:
        with pytest.raises(ImageError, match="send it as a file"):
            async with bench.loader.load([ImageRef(data_url(pdfs.pdf("red")), 1)]):
                pass
