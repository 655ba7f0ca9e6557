"""`foveal ask`: answers one question with the pipeline and the engine in this process."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foveal.cli import options
from foveal.cli.local import Setup, loaded, question, with_setup
from foveal.cli.pictures import from_clipboard, is_url, read

if TYPE_CHECKING:
    from foveal.serving.served import Answer


SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}  # no question ends in one


@click.command("ask")
@click.argument("images_and_question", metavar="[IMAGE]... QUESTION", nargs=-1, required=True)
@click.option("--paste", is_flag=True, help="Ask about the picture in the clipboard, too.")
@with_setup
@options.as_json
def command(images_and_question: tuple[str, ...], paste: bool, setup: Setup, as_json: bool) -> None:
    """Ask a model about pictures, without a server.

    IMAGEs are files, URLs or - (standard input); the QUESTION is in quotes. The answer is streamed to the terminal.
    """
    from foveal.cli.drawing import draw

    *images, text = images_and_question
    _check_question(images, text)
    pictures = [read(image) for image in images] + ([from_clipboard()] if paste else [])
    for picture in () if as_json else pictures:
        draw(picture)
    with loaded(setup) as model:
        asked = [question(pictures, text)]
        if as_json:
            print(json.dumps({"model": model.id, **model.answer(asked, as_object)}, indent=2))
        else:
            model.answer(asked, print_text)


def _check_question(images: list[str], text: str) -> None:
    """Raises UsageError."""
    if images and not text.strip():
        raise click.UsageError("The question is empty; put it last, in quotes.")
    if not images and (is_url(text) or Path(text).is_file() or Path(text).suffix.lower() in SUFFIXES):
        raise click.UsageError(f"the question is missing: foveal ask {text} 'What is in the picture?'")


async def print_text(answer: Answer) -> None:
    """Print it as it comes."""
    async for delta in answer.deltas():
        print(delta.text, end="", flush=True)
    print()


async def as_object(answer: Answer) -> dict[str, object]:
    """All that is known of it when it has ended, for programs."""
    deltas = [delta async for delta in answer.deltas()]
    return {
        "answer": "".join(delta.text for delta in deltas),
        "finish_reason": deltas[-1].finish_reason,
        "usage": asdict(answer.usage),
        "first_token_s": answer.first_token_s,
        "total_s": answer.total_s,
    }
