"""`foveal chat`: what the model is given after each line that a person types."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from foveal.cli.chat import HELP, Chat
from foveal.errors import FovealError, InvalidRequest
from foveal.serving.served import Answer
from foveal.types import Delta, ImageRef, Message, Usage
from tests.fakes import FakeAnswer

Take = Callable[[Answer], Awaitable[None]]


class Model:
    """Answers "Yes.", and keeps what it was given. With an exception it says "Ye" and raises that."""

    def __init__(self) -> None:
        self.given: list[list[Message]] = []
        self.fails: BaseException | None = None

    def answer(self, messages: Sequence[Message], take: Take) -> None:
        self.given.append([*messages])
        script = [Delta(0, "Ye"), Delta(0, "s.")] if not self.fails else [Delta(0, "Ye")]
        asyncio.run(self._given_to(take, script))
        if self.fails:
            raise self.fails

    async def _given_to(self, take: Take, script: Sequence[Delta]) -> None:
        await take(FakeAnswer(script, Usage(1, 0, 1, 0, 1)))


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def chat(model: Model) -> Chat:
    return Chat(model.answer)


def test_a_question_follows_what_was_said_before(chat: Chat, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    chat.hear("Is it red?")
    chat.hear("Is it round?")

    said = [(message.role, message.content) for message in model.given[-1]]
    assert said == [("user", ("Is it red?",)), ("assistant", ("Yes.",)), ("user", ("Is it round?",))]
    assert capsys.readouterr().out == "Yes.\nYes.\n"


def test_pictures_belong_to_the_next_question_and_are_numbered_through(
    chat: Chat, model: Model, tmp_path: Path
) -> None:
    for name in ("a b.png", "c.png"):
        (tmp_path / name).write_bytes(name.encode())
    chat.add(b"first")
    chat.hear("One?")
    chat.hear(f"/image '{tmp_path}/a b.png' {tmp_path}/c.png")
    chat.hear("Two?")

    first, _, second = model.given[-1]
    assert first.content == (ImageRef(b"first", 1), "One?")
    assert second.content == (ImageRef(b"a b.png", 2), ImageRef(b"c.png", 3), "Two?")


def test_clear_begins_anew(chat: Chat, model: Model) -> None:
    chat.add(b"first")
    chat.hear("One?")
    chat.add(b"second")
    chat.hear("/clear")
    chat.add(b"third")
    chat.hear("Two?")

    (asked,) = model.given[-1]
    assert asked.content == (ImageRef(b"third", 1), "Two?")


def test_an_answer_that_is_stopped_stays_as_far_as_it_came(chat: Chat, model: Model) -> None:
    model.fails = KeyboardInterrupt()
    chat.hear("One?")
    model.fails = None
    chat.hear("Go on.")

    assert [message.content for message in model.given[-1]] == [("One?",), ("Ye",), ("Go on.",)]


def test_a_question_that_is_refused_was_not_asked_and_keeps_its_pictures(chat: Chat, model: Model) -> None:
    chat.add(b"first")
    model.fails = InvalidRequest("The prompt is too long.")
    with pytest.raises(InvalidRequest):
        chat.hear("Long?")
    model.fails = None
    chat.hear("Short?")

    (asked,) = model.given[-1]
    assert asked.content == (ImageRef(b"first", 1), "Short?")


def test_a_file_that_is_missing_is_named(chat: Chat) -> None:
    with pytest.raises(FovealError, match=r"nowhere\.png cannot be read"):
        chat.hear("/image nowhere.png")


@pytest.mark.parametrize("line", ["/help", "/imag a.png", "/"])
def test_other_commands_are_answered_with_those_there_are(
    chat: Chat, model: Model, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chat.hear(line)
    assert capsys.readouterr().err == HELP + "\n"
    assert not model.given
