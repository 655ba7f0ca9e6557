"""Where the pictures of a command line come from: files, URLs, standard input."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from foveal.errors import FovealError

STDIN = "-"


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def source(image: str) -> str:
    """A URL as it is; else a picture as base64, the same way a client would send it. Raises FovealError."""
    if is_url(image) or image.startswith("data:"):
        return image
    return as_data_url(_from_stdin() if image == STDIN else _from_file(image))


def as_data_url(picture: bytes) -> str:
    return "data:;base64," + base64.b64encode(picture).decode("ascii")


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
