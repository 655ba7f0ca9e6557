"""`foveal chat`: a conversation about pictures in the terminal, with the model in this process."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import click

from foveal.cli.local import Setup, loaded, question, with_setup
from foveal.cli.pictures import from_clipboard, read
from foveal.cli.terminal import complain, tell
from foveal.errors import FovealError

if TYPE_CHECKING:
    from foveal.serving.served import Answer
    from foveal.types import Message

    Answering = Callable[[Sequence[Message], Callable[[Answer], Awaitable[None]]], None]  # of LocalModel

HELP = "/image FILE...  /paste (the clipboard)  /clear (begin anew)  Ctrl-C stops an answer, Ctrl-D ends"


@click.command("chat")
@click.argument("images", metavar="[IMAGE]...", nargs=-1)
@with_setup
def command(images: tuple[str, ...], setup: Setup) -> None:
    """Talk with a model about pictures, without a server.

    IMAGEs are files or URLs, and the first question is about them. /image adds more, /clear begins anew.
    """
    import readline  # noqa: F401  # so that input() has a history and can be edited

    pictures = [read(image) for image in images]
    with loaded(setup) as model:
        chat = Chat(model.answer)
        tell(HELP)
        for picture in pictures:
            chat.add(picture)
        while (line := _line()) is not None:
            try:
                chat.hear(line)
            except FovealError as error:
                complain(str(error))


def _line() -> str | None:
    """What a person types next; None at the end."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        return None


class Chat:
    """One conversation: what has been said, and the pictures that the next question is about."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer
        self._messages: list[Message] = []
        self._pictures: list[str | bytes] = []
        self._num_asked_about = 0  # pictures

    def hear(self, line: str) -> None:
        """Carry out a command, or answer a question. Raises FovealError, and then nothing has been said."""
        if line.startswith("/"):
            self._obey(*line.split(maxsplit=1))
        elif line:
            self._ask(line)

    def add(self, picture: str | bytes) -> None:
        from foveal.cli.drawing import draw

        draw(picture)
        self._pictures.append(picture)

    def _obey(self, name: str, rest: str = "") -> None:
        commands: dict[str, Callable[[], None]] = {
            "/image": lambda: self._add_files(rest),
            "/paste": lambda: self.add(from_clipboard()),
            "/clear": self._clear,
        }
        commands.get(name, lambda: tell(HELP))()

    def _add_files(self, names: str) -> None:
        try:
            files = shlex.split(names)  # as a terminal quotes what is dropped on it
        except ValueError:
            files = [names]
        for file in files:
            self.add(read(file))

    def _clear(self) -> None:
        self._messages, self._pictures, self._num_asked_about = [], [], 0

    def _ask(self, text: str) -> None:
        from foveal.types import Message

        asked = question(self._pictures, text, self._num_asked_about + 1)
        said = Said()
        try:
            self._answer([*self._messages, asked], said.print)
        except KeyboardInterrupt:  # what was said until then stays
            print()
            if not said.text:
                return
        self._num_asked_about += len(self._pictures)
        self._pictures = []
        self._messages += [asked, Message("assistant", (said.text,))]


class Said:
    """An answer's text as it comes, printed and kept."""

    def __init__(self) -> None:
        self.text = ""

    async def print(self, answer: Answer) -> None:
        async for delta in answer.deltas():
            self.text += delta.text
            print(delta.text, end="", flush=True)
        print()
