"""Draws pictures in terminals that can: by kitty's protocol, iTerm's or sixels. Elsewhere it draws nothing."""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = (480, 320)  # of what is drawn
CHUNK = 4096  # characters of one of kitty's commands
COLOURS, BAND = 256, 6  # of sixels; a band is what one row of characters paints


def draw(picture: str | bytes) -> None:
    """Draw a picture on stderr, if that is a terminal that can. What is no picture, or behind a URL, is left out."""
    if isinstance(picture, str) or not sys.stderr.isatty() or not (write := writer(os.environ)):
        return
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(picture)) as opened:
            opened.draft("RGB", MOST_PIXELS)
            drawn = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return  # the pipeline says what is wrong with it, or can read more than Pillow
    drawn.thumbnail(MOST_PIXELS)
    sys.stderr.write(write(drawn) + "\n")
    sys.stderr.flush()


def writer(environment: Mapping[str, str]) -> Callable[[Image], str] | None:
    """What draws in the terminal that the environment names; None if it cannot."""
    terminal, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or terminal.startswith(("tmux", "screen")):
        return None  # which lets no pictures through, and keeps the variables of the terminal around it
    if terminal in ("xterm-kitty", "xterm-ghostty"):
        return kitty
    if "sixel" in terminal or terminal.startswith(("foot", "mlterm", "contour")):
        return sixels
    if program in ("iTerm.app", "WezTerm", "vscode") or environment.get("LC_TERMINAL") == "iTerm2":
        return iterm
    return None


def kitty(picture: Image) -> str:
    """sw.kovidgoyal.net/kitty/graphics-protocol: a PNG in chunks; q=2 asks for no reply."""
    data = b64encode(_png(picture)).decode("ascii")
    chunks = [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)]
    heads = ["a=T,f=100,q=2,", *[""] * (len(chunks) - 1)]
    last = len(chunks) - 1
    return "".join(f"\x1b_G{heads[i]}m={int(i < last)};{chunk}\x1b\\" for i, chunk in enumerate(chunks))


def iterm(picture: Image) -> str:
    """iterm2.com/documentation-images.html."""
    png = _png(picture)
    return f"\x1b]1337;File=inline=1;size={len(png)}:{b64encode(png).decode('ascii')}\a"


def sixels(picture: Image) -> str:
    """vt100.net/docs/vt3xx-gp/chapter14.html: bands of six rows, each painted once a colour."""
    import numpy as np

    indexed = picture.quantize(COLOURS)
    palette = np.asarray(indexed.getpalette(), np.int64).reshape(-1, 3) * 100 // 255  # in percent
    registers = "".join(f"#{i};2;{red};{green};{blue}" for i, (red, green, blue) in enumerate(palette.tolist()))
    rows = np.asarray(indexed)
    bands = [rows[top : top + BAND] for top in range(0, len(rows), BAND)]
    size = f'"1;1;{picture.width};{picture.height}'
    return f"\x1bPq{size}{registers}{'-'.join('$'.join(_painted(band.tolist())) for band in bands)}\x1b\\"


def _painted(band: list[list[int]]) -> Iterator[str]:
    """A band, colour after colour: a character is a column, its bits are the rows that have the colour."""
    columns = list(zip(*band, strict=True))
    for colour in sorted({index for row in band for index in row}):
        painted = [chr(63 + sum(1 << y for y, index in enumerate(column) if index == colour)) for column in columns]
        runs = [(character, len(list(run))) for character, run in groupby(painted)]
        yield f"#{colour}" + "".join(f"!{length}{character}" for character, length in runs)


def _png(picture: Image) -> bytes:
    png = BytesIO()
    picture.save(png, "png")
    return png.getvalue()
