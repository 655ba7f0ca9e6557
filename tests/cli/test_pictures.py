"""Pictures from the clipboard, with a stand-in for the program that X11 users have for it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from foveal.cli.pictures import from_clipboard
from foveal.errors import FovealError
from tests.builders import picture


@pytest.fixture
def xclip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program is looked for."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return tmp_path / "xclip"


def put(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_picture_in_the_clipboard_is_read(xclip: Path, tmp_path: Path) -> None:
    picture(64, 48).save(tmp_path / "copied.png")
    put(xclip, f"cat {tmp_path}/copied.png")

    read = Image.open(BytesIO(from_clipboard()))
    assert ImageChops.difference(read, picture(64, 48)).getbbox() is None


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo 'Error: target image/png not available' >&2; exit 1", "there is no picture in the clipboard"),
        ("echo 'no display' >&2; exit 1", "the clipboard cannot be read: xclip error: no display"),
        ("echo text", "the clipboard cannot be read"),
    ],
)
def test_what_is_no_picture_is_said(xclip: Path, script: str, sentence: str) -> None:
    put(xclip, script)
    with pytest.raises(FovealError, match=sentence):
        from_clipboard()


def test_a_machine_without_the_program_is_told_which(xclip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(xclip.parent))
    with pytest.raises(FovealError, match="install wl-clipboard, or xclip"):
        from_clipboard()
