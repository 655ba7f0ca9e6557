"""What an image reference may look like."""

from __future__ import annotations

import base64
from urllib.parse import quote

import httpx
import pytest

from foveal.media.refusal import Refused
from foveal.media.source import decode_base64, read_source

PICTURE = bytes(range(256)) + b"\xfb\xff"  # base64 with +, / and padding
STANDARD = base64.b64encode(PICTURE).decode()
URL_SAFE = base64.urlsafe_b64encode(PICTURE).decode()
LIMIT = 1000


@pytest.mark.parametrize(
    "source",
    [
        f"data:image/png;base64,{STANDARD}",
        f"DATA:IMAGE/PNG;BASE64,{STANDARD}",
        f"data:image/svg+xml;charset=utf-8;base64,{STANDARD}",
        f"data:image;base64,{STANDARD}",
        f"data:;base64,{STANDARD}",
        f"data:image/png;name=my%20file.png;base64,{STANDARD}",
        f'data:image/png;name="my file.png";base64,{STANDARD}',
        f"data:image/png;charset=utf-8;name=a(1).png;base64,{STANDARD}",
        f"data:image/png; base64,{STANDARD}",
        f"data:image/png ; base64 ,{STANDARD}",
        f"data: image/png;base64, {STANDARD}",
        f"data:image/png;base64,{quote(STANDARD, safe='')}",
        f"data:image/png;base64,{STANDARD.replace('A', '%41')}",
        f"data:image/png;base64,%20{STANDARD[:76]}%0D%0A{STANDARD[76:]}",
        f"data:image/png,{STANDARD}",
        f"data:image/png,{quote(PICTURE, safe='')}",
        f"image/jpeg;base64,{STANDARD}",
        f"image/jpeg,{STANDARD}",
        STANDARD,
        URL_SAFE,
        STANDARD.rstrip("="),
        f"data:image/png;base64,{STANDARD}#transform=inline",
        f"{STANDARD}#",
        f"  {STANDARD[:76]}\r\n{STANDARD[76:152]}\n {STANDARD[152:]}\n",
    ],
)
def test_base64_spellings(source: str) -> None:
    assert read_source(source, LIMIT) == PICTURE


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("https://example.com/a.jpg", "https://example.com/a.jpg"),
        ("HTTP://Example.COM/a.jpg", "http://example.com/a.jpg"),
        ("https://example.com/a.jpg?b=c#transform=inline", "https://example.com/a.jpg?b=c"),
        (" https://example.com/a b.jpg\n", "https://example.com/a%20b.jpg"),
        ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
    ],
)
def test_urls(source: str, url: str) -> None:
    assert read_source(source, LIMIT) == httpx.URL(url)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("file:///etc/passwd", "this address is not allowed"),
        ("ftp://example.com/a.jpg", "this address is not allowed"),
        ("gopher://example.com", "this address is not allowed"),
        ("javascript:alert(1)", "this address is not allowed"),
        ("localhost:8000/a.jpg", "this address is not allowed"),
        ("https://user:password@example.com/a.jpg", "this address is not allowed"),
        ("https://user@example.com/a.jpg", "this address is not allowed"),
        ("https:///a.jpg", "this address is not allowed"),
        ("https://example.com:70000/a.jpg", "this address is not allowed"),
        ("https://[::1/a.jpg", "the URL cannot be read"),
        ("http://xn--/a", "the URL cannot be read"),
        ("https://\ud800/a.jpg", "the URL cannot be read"),
        ("https://example.com/" + "a" * 70_000, "the URL cannot be read"),
        ("data:image/png;base64", "neither a URL nor valid base64"),
        ("data:image/png;base64,%25%25", "neither a URL nor valid base64"),
        ("data:image/png;base64," + "%41" * 3 * LIMIT, "larger than 1,000 bytes, the limit for each image"),
        ("data:image/png," + "%89" * (LIMIT + 1), "larger than 1,000 bytes, the limit for each image"),
        ("", "the image is empty"),
        ("#transform=inline", "the image is empty"),
    ],
)
def test_refused_sources(source: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        read_source(source, LIMIT)


@pytest.mark.parametrize(
    "text", ["A", "AAAAA", "AA=A", "!!!!", "AAA\u00e9", "AAA\ud800", "//evil.test/a.jpg", "%89PNG"]
)
def test_what_is_not_base64(text: str) -> None:
    with pytest.raises(Refused, match="neither a URL nor valid base64"):
        decode_base64(text, LIMIT)


@pytest.mark.parametrize("text", ["", "=", "\n"])
def test_no_bytes_at_all(text: str) -> None:
    with pytest.raises(Refused, match="the image is empty"):
        decode_base64(text, LIMIT)


@pytest.mark.parametrize(("num_bytes", "fits"), [(LIMIT, True), (LIMIT + 1, False), (10 * LIMIT, False)])
def test_the_limit_is_on_decoded_bytes(num_bytes: int, fits: bool) -> None:
    text = base64.b64encode(bytes(num_bytes)).decode()

    if fits:
        assert decode_base64(text, LIMIT) == bytes(num_bytes)
    else:
        with pytest.raises(Refused, match="larger than 1,000 bytes, the limit for each image"):
            decode_base64(text, LIMIT)


def test_a_text_over_the_limit_is_not_decoded() -> None:
    with pytest.raises(Refused, match="larger than"):
        decode_base64("!" * (3 * LIMIT), LIMIT)


def test_a_large_picture() -> None:
    picture = PICTURE * 2000

    assert decode_base64(base64.b64encode(picture).decode(), len(picture)) == picture
