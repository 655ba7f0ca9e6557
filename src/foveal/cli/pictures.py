"""Where the pictures of a command line come from: files, URLs, standard input, the clipboard."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

from foveal.errors import FovealError

STDIN = "-"


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def read(image: str) -> str | bytes:
    """A URL as it is, which the pipeline fetches; else the picture's bytes. Raises FovealError."""
    if is_url(image) or image.startswith("data:"):
        return image
    return _from_stdin() if image == STDIN else _from_file(image)


def from_clipboard() -> bytes:
    """The picture in the clipboard, or the picture file. Raises FovealError if there is none."""
    from PIL import Image, ImageGrab

    try:
        found = ImageGrab.grabclipboard()
    except NotImplementedError:
        raise FovealError("the clipboard cannot be read: install wl-clipboard, or xclip for X11") from None
    except (OSError, ValueError) as error:
        raise FovealError(f"the clipboard cannot be read: {error}") from None
    if isinstance(found, list) and found:  # names of files, on macOS and Windows
        return _from_file(found[0])
    if not isinstance(found, Image.Image):
        raise FovealError("there is no picture in the clipboard")
    png = BytesIO()
    found.save(png, "png")
    return png.getvalue()


def _from_file(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise FovealError(f"{name} cannot be read: {error.strerror}") from None


def _from_stdin() -> bytes:
    if sys.stdin.isatty():
        raise FovealError(f"{STDIN} reads a picture from standard input: foveal ask - 'What is it?' < picture.png")
    if not (picture := sys.stdin.buffer.read()):
        raise FovealError("there is no picture on standard input; it can be read once")
    return picture
