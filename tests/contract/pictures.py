"""The pictures that the contract's tests send, and the pages of the host that they can be fetched from."""

from __future__ import annotations

import io

from PIL import Image, ImageChops, ImageDraw

from foveal.models.hub import BUNDLED_FOLDER
from foveal.models.registry import load_processor
from foveal.types import Size
from tests.media.builders import encode
from tests.media.host import Page, redirect


def drawing(mode: str = "RGB") -> Image.Image:
    """96 x 64: a red block on white, off the centre, so that a picture that is turned or mirrored is another one."""
    picture = Image.new("RGB", (96, 64), "white")
    ImageDraw.Draw(picture).rectangle((8, 8, 40, 40), fill=(200, 20, 30))
    return picture.convert(mode)


def reread(encoded: bytes) -> Image.Image:
    """What a lossy format made of a picture."""
    return Image.open(io.BytesIO(encoded)).convert("RGB")


def padded(encoded: bytes, num_bytes: int) -> bytes:
    """The same picture in so many bytes: decoders read no further than they need."""
    return encoded.ljust(num_bytes, b"\0")


def transparent() -> bytes:
    """The drawing, its white replaced by nothing."""
    picture = drawing()
    is_painted = ImageChops.invert(picture).convert("L").point(lambda level: 0 if level == 0 else 255)
    background = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    background.paste(picture, mask=is_painted)
    return encode(background)


def lying_on_its_side() -> bytes:
    """The drawing as a camera stores it that was held upright: turned, with an orientation that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it
    return encode(drawing().transpose(Image.Transpose.ROTATE_90), exif=exif)


def sixteen_bit() -> bytes:
    """The drawing in grey, as a scanner with 16 bits a pixel stores it."""
    grey = drawing("L")
    return encode(Image.frombytes("I;16", grey.size, b"".join(bytes([v, v]) for v in grey.tobytes())), "TIFF")


def num_tokens(picture: Image.Image) -> int:
    """What the model inside the package needs for it."""
    processor = load_processor(BUNDLED_FOLDER)
    if processor is None:
        raise RuntimeError("the model inside the package takes no images")
    return processor.layout(Size(*picture.size), "auto").num_tokens


PNG = encode(drawing())
JPEG = encode(drawing(), "JPEG")
CMYK_JPEG = encode(drawing("CMYK"), "JPEG")
ANIMATION = encode(drawing(), "GIF", save_all=True, append_images=[Image.new("RGB", (96, 64), "blue")])
PDF = encode(drawing(), "PDF")
MAX_IMAGE_BYTES = 4_999_999

PAGES = {
    "/drawing.png": Page(PNG),
    "/drawing.jpg": Page(PNG, headers=("Content-Type: text/html",)),
    "/moved": redirect("/drawing.png"),
    "/inside": redirect("http://10.0.0.1/drawing.png"),
    "/metadata": redirect("http://169.254.169.254/latest/meta-data/"),
    "/file": redirect("file:///etc/passwd"),
    "/round": redirect("/round"),
    "/slow.png": Page(PNG, delay_s=3600),
    "/dripping.png": Page(PNG, pause_s=0.1),
    "/large.png": Page(padded(PNG, MAX_IMAGE_BYTES + 1)),
    "/fits.png": Page(padded(PNG, MAX_IMAGE_BYTES)),
    "/empty.png": Page(b""),
    "/page.html": Page(b"<html>Please sign in</html>"),
}
