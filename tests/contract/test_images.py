"""Every way to send an image, and its result: the same pixels, or an error for the client."""

from __future__ import annotations

import base64
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.contract.pictures import (
    ANIMATION,
    CMYK_JPEG,
    JPEG,
    MAX_IMAGE_BYTES,
    PDF,
    PNG,
    drawing,
    lying_on_its_side,
    num_tokens,
    padded,
    reread,
    sixteen_bit,
    transparent,
)
from tests.contract.serve import MODEL
from tests.media.builders import data_url, encode

if TYPE_CHECKING:
    import httpx

    from tests.contract.serve import Served
    from tests.media.host import Host

HOST = "HOST"  # stands for the address of the host of pictures, which is known once it runs
URL_SAFE = str.maketrans("+/", "-_")
ONE_PIXEL = Image.new("RGB", (1, 1), "red")
BASE64 = base64.b64encode(PNG).decode()
TOO_LARGE = "larger than 4,999,999 bytes"
PRIVATE = "this address is not allowed"
NO_PICTURE = "not a picture in a supported format"


def sent(picture: Image.Image, format: str = "PNG", **options: Any) -> str:
    return data_url(encode(picture, format, **options))


# fmt: off
SEEN = [
    # the source                      how it is sent                              what the model sees
    ("URL",                           "HOST/drawing.png",                         drawing()),
    ("URL with a fragment",           "HOST/drawing.png#transform=inline",        drawing()),
    ("URL with a wrong MIME type",    "HOST/drawing.jpg",                         drawing()),
    ("URL that moved",                "HOST/moved",                               drawing()),
    ("URL of exactly the limit",      "HOST/fits.png",                            drawing()),
    ("data URL",                      data_url(PNG),                              drawing()),
    ("data URL, wrong MIME type",     data_url(PNG, "image/jpeg"),                drawing()),
    ("data URL, no MIME type",        data_url(PNG, ""),                          drawing()),
    ("data URL with a fragment",      data_url(PNG) + "#transform=inline",        drawing()),
    ("data:image;base64,",            "data:image;base64," + BASE64,              drawing()),
    ("image/jpeg;base64,",            "image/jpeg;base64," + BASE64,              drawing()),
    ("image/jpeg,",                   "image/jpeg," + BASE64,                     drawing()),
    ("bare base64",                   BASE64,                                     drawing()),
    ("without padding",               data_url(padded(PNG, 241)).rstrip("="),     drawing()),
    ("URL-safe alphabet",             BASE64.translate(URL_SAFE),                 drawing()),
    ("in lines",                      "\n".join(textwrap.wrap(BASE64, 76)),       drawing()),
    ("JPEG",                          data_url(JPEG),                             reread(JPEG)),
    ("CMYK JPEG",                     data_url(CMYK_JPEG),                        reread(CMYK_JPEG)),
    ("GIF",                           sent(drawing(), "GIF"),                     drawing()),
    ("animated GIF",                  data_url(ANIMATION),                        drawing()),
    ("BMP",                           sent(drawing(), "BMP"),                     drawing()),
    ("TIFF",                          sent(drawing(), "TIFF"),                    drawing()),
    ("16-bit TIFF",                   data_url(sixteen_bit()),                    drawing("L")),
    ("PPM",                           sent(drawing(), "PPM"),                     drawing()),
    ("WebP",                          sent(drawing(), "WEBP", lossless=True),     drawing()),
    ("palette",                       sent(drawing("P")),                         drawing("P").convert("RGB")),
    ("greyscale",                     sent(drawing("L")),                         drawing("L")),
    ("transparent",                   data_url(transparent()),                    drawing()),
    ("EXIF-rotated",                  data_url(lying_on_its_side()),              drawing()),
    ("1 x 1",                         sent(ONE_PIXEL),                              ONE_PIXEL),
]
REFUSED = [
    # the source                      how it is sent                              what the client is told
    ("URL that is not there",         "HOST/nothing.png",                         "answered with status 404"),
    ("URL that is slow",              "HOST/slow.png",                            "longer than 5 s"),
    ("URL that drips",                "HOST/dripping.png",                        "longer than 5 s"),
    ("URL over the limit",            "HOST/large.png",                           TOO_LARGE),
    ("URL of nothing",                "HOST/empty.png",                           "the image is empty"),
    ("URL of a page",                 "HOST/page.html",                           "a web page and no picture"),
    ("redirect to a private address", "HOST/inside",                              PRIVATE),
    ("redirect to metadata",          "HOST/metadata",                            PRIVATE),
    ("redirect to a file",            "HOST/file",                                PRIVATE),
    ("redirect in a circle",          "HOST/round",                               "more than 3 redirects"),
    ("private address",               "http://192.168.1.1/drawing.png",           PRIVATE),
    ("loopback, another port",        "http://127.0.0.1:9/drawing.png",           PRIVATE),
    ("loopback by name",              "http://localhost/drawing.png",             PRIVATE),
    ("loopback in IPv6",              "http://[::1]/drawing.png",                 PRIVATE),
    ("credentials",                   "http://me:secret@example.com/drawing.png", PRIVATE),
    ("another scheme",                "file:///etc/passwd",                       PRIVATE),
    ("nothing",                       "",                                         "the image is empty"),
    ("base64 of nothing",             "data:image/png;base64,",                   "the image is empty"),
    ("not base64",                    "data:image/png;base64,?!",                 "nor valid base64"),
    ("base64 over the limit",         data_url(padded(PNG, MAX_IMAGE_BYTES + 1)), TOO_LARGE),
    ("truncated",                     data_url(JPEG[: len(JPEG) // 2]),           "damaged or incomplete"),
    ("header only",                   data_url(PNG[:33]),                         NO_PICTURE),
    ("PDF",                           data_url(PDF),                              "a PDF, which is no picture"),
    ("SVG",                           data_url(b"<svg></svg>"),                   "an SVG drawing, which is not"),
    ("too many pixels",               sent(drawing("1").resize((10_000, 5_001))), "more than 50,000,000 pixels"),
    ("too narrow",                    sent(drawing("1").resize((9_000, 1))),      "too narrow"),
]
# fmt: on


def ask(served: Served, *sources: str) -> httpx.Response:
    """One token about the pictures, greedily, with the likeliest tokens at its place."""
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": source}} for source in sources]
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "What colour is the block?"}]}],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 5,
    }
    return served.post("/v1/chat/completions", body)


def likeliest(response: httpx.Response) -> dict[int, float]:
    """Token ids and their logprobs: what the model made of the picture."""
    (entry,) = response.json()["choices"][0]["logprobs"]["content"]
    return {top["token_id"]: top["logprob"] for top in entry["top_logprobs"]}


@pytest.mark.parametrize(("source", "seen"), [pytest.param(*row[1:], id=row[0]) for row in SEEN])
def test_the_model_sees_the_picture(served: Served, pictures: Host, source: str, seen: Image.Image) -> None:
    answer = ask(served, source.replace(HOST, pictures.url("")))
    as_png = ask(served, data_url(encode(seen)))

    assert (answer.status_code, as_png.status_code) == (200, 200), answer.text
    assert likeliest(answer) == pytest.approx(likeliest(as_png), abs=1e-3)
    assert answer.json()["usage"]["prompt_tokens_details"]["image_tokens"] == num_tokens(seen)


@pytest.mark.parametrize(("source", "told"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_the_client_is_told(served: Served, pictures: Host, source: str, told: str) -> None:
    answer = ask(served, data_url(PNG), source.replace(HOST, pictures.url("")))

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", "images")
    assert error["message"].startswith("image 2: ")
    assert told in error["message"]


@pytest.mark.slow
def test_thirty_images_and_no_more(served: Served) -> None:
    allowed = ask(served, *[data_url(encode(drawing().resize((8, 8))))] * 30)
    refused = ask(served, *[data_url(PNG)] * 31)

    assert allowed.status_code == 200, allowed.text
    assert refused.status_code == 400
    assert "at most 30" in refused.json()["error"]["message"]


def test_a_body_over_its_limit(served: Served) -> None:
    answer = ask(served, *[data_url(bytes(4_000_000))] * 2)

    assert answer.status_code == 413
    assert "10000000 bytes" in answer.json()["error"]["message"]


def test_as_many_marks_as_images(served: Served) -> None:
    body = {"model": MODEL, "prompt": "<image> and <image>", "images": [data_url(PNG)], "max_tokens": 1}

    answer = served.post("/v1/completions", body)

    assert answer.status_code == 400
    assert "image" in answer.json()["error"]["message"]
