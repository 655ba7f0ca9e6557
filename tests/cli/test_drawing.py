"""Pictures in terminals: what is sent is decoded here as each protocol's document says."""

from __future__ import annotations

import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from foveal.cli.drawing import draw, iterm, kitty, sixels, writer
from tests.builders import picture

PHOTO = picture(70, 45)  # not a multiple of a band's six rows
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8))
POSTER = Image.fromarray(np.random.default_rng(0).choice([0, 51, 255], (45, 70, 3)).astype(np.uint8))  # 27 colours


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


def test_kitty_gets_a_png_in_chunks_of_which_the_last_says_so() -> None:
    commands = re.findall(r"\x1b_G(.*?);(.*?)\x1b\\", kitty(NOISE))
    heads, chunks = zip(*commands, strict=True)

    assert [re.findall(r"\bm=(\d)", head) for head in heads] == [["1"]] * (len(heads) - 1) + [["0"]]
    assert len(chunks) > 1
    assert all(len(chunk) <= 4096 for chunk in chunks)
    assert (pixels(b64decode("".join(chunks))) == np.asarray(NOISE)).all()


def test_iterm_gets_a_png_with_its_size() -> None:
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+):(.*)\a", iterm(PHOTO))

    assert found
    png = b64decode(found[2])
    assert len(png) == int(found[1])
    assert (pixels(png) == np.asarray(PHOTO)).all()


def test_sixels_of_a_picture_with_few_colours_are_its_pixels() -> None:
    assert (decoded(sixels(POSTER)) == np.asarray(POSTER)).all()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty"}, kitty),
        ({"TERM": "foot"}, sixels),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, iterm),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, None),
        ({}, None),
    ],
)
def test_only_terminals_that_are_known_to_draw_get_pictures(environment: dict[str, str], expected: object) -> None:
    assert writer(environment) is expected


@pytest.mark.parametrize("given", [b"no picture", "https://example.com/a.png"])
def test_what_cannot_be_drawn_is_left_to_the_pipeline(
    given: str | bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.delenv("TMUX", raising=False)
    draw(given)
    assert capsys.readouterr() == ("", "")


def test_a_file_gets_no_pictures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TERM", "xterm-kitty")
    png = BytesIO()
    PHOTO.save(png, "png")
    draw(png.getvalue())
    assert capsys.readouterr() == ("", "")


def decoded(sent: str) -> np.ndarray:
    """What a terminal paints, by the VT340's manual."""
    found = re.fullmatch(r"\x1bPq\"1;1;(\d+);(\d+)(.*)\x1b\\", sent)
    assert found
    width, height = int(found[1]), int(found[2])
    painted = np.full((height + 6, width, 3), -1)
    colours: dict[int, tuple[int, ...]] = {}
    x = top = colour = 0
    for token in re.findall(r"#\d+(?:;\d+){4}|#\d+|!\d+.|[$-]|[?-~]", found[3]):
        if token == "$":
            x = 0
        elif token == "-":
            x, top = 0, top + 6
        elif token[0] == "#":
            colour, *definition = map(int, token[1:].split(";"))
            if definition:
                assert definition[0] == 2  # red, green and blue in percent
                colours[colour] = tuple(round(share * 255 / 100) for share in definition[1:])
        else:
            length = int(token[1:-1]) if token[0] == "!" else 1
            for y in range(6):
                if (ord(token[-1]) - 63) >> y & 1:
                    painted[top + y, x : x + length] = colours[colour]
            x += length
    return painted[:height]
