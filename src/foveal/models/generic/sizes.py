"""A child process that tells what images of a size become: transformers, which the server does not import.

It sees sizes only, never a picture, so the server may believe it. `Sizes` is the server's end. A job is a line, width
and height; a reply is a frame: four bytes of length, then msgpack.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from foveal.errors import CheckpointError
from foveal.models.family import InvalidImageSize
from foveal.models.generic.facts import Facts
from foveal.types import Size

INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "PYTHONHOME")
MAX_KNOWN = 4096  # sizes


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The first reply: what of the checkpoint only transformers knows."""

    config: bytes  # config.json with all defaults
    mark: str  # what a template writes for an image
    image_tokens: tuple[str, ...]  # that only an image may add
    version: str  # of transformers


class Told(msgspec.Struct, frozen=True, tag=True):
    facts: Facts


class Refusal(msgspec.Struct, frozen=True, tag=True):
    sentence: str


Reply = Hello | Told | Refusal


class Sizes:
    """Starts its process at the first question, and again if it has ended. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._hello: Hello | None = None
        self._known: dict[Size, Facts] = {}

    @property
    def hello(self) -> Hello:
        """Raises CheckpointError where the checkpoint's processor cannot be made."""
        with self._lock:
            self._start()
        assert self._hello is not None
        return self._hello

    def facts(self, size: Size) -> Facts:
        """What an image of a size becomes. Raises InvalidImageSize."""
        with self._lock:
            if size in self._known:
                return self._known[size]
            child = self._start()
            assert child.stdin is not None
            child.stdin.write(f"{size.width} {size.height}\n".encode())
            child.stdin.flush()
            reply = self._reply(child)
            if not isinstance(reply, Told):
                raise InvalidImageSize(reply.sentence if isinstance(reply, Refusal) else "")
            if len(self._known) == MAX_KNOWN:
                self._known.clear()
            self._known[size] = reply.facts
            return reply.facts

    def _start(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        path = os.pathsep.join(filter(None, sys.path))
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            start_new_session=True,
        )
        weakref.finalize(self, _end, self._child)
        reply = self._reply(self._child)
        if not isinstance(reply, Hello):
            raise CheckpointError(reply.sentence if isinstance(reply, Refusal) else "")
        self._hello = reply
        return self._child

    def _reply(self, child: subprocess.Popen[bytes]) -> Reply:
        assert child.stdout is not None
        header = child.stdout.read(4)
        content = child.stdout.read(int.from_bytes(header, "little"))
        if not content:
            _end(child)
            return Refusal("the program that reads the checkpoint's processor ended; the log says more")
        return msgspec.msgpack.decode(content, type=Reply)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    for pipe in (child.stdin, child.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):
            pipe.close()
    child.wait()


def answer(folder: Path, jobs: BinaryIO, replies: BinaryIO) -> None:
    """The child's end: until `jobs` ends."""
    from foveal.models.generic.pictures import Pictures

    def reply(message: Reply) -> None:
        content = msgspec.msgpack.encode(message)
        replies.write(len(content).to_bytes(4, "little") + content)
        replies.flush()

    try:
        pictures = Pictures.load(folder)
        reply(pictures.hello())
    except CheckpointError as error:
        reply(Refusal(str(error)))
        return
    for line in jobs:
        width, height = map(int, line.split())
        try:
            reply(Told(pictures.facts(Size(width, height))))
        except InvalidImageSize as error:
            reply(Refusal(str(error)))


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    answer(Path(sys.argv[1]), sys.stdin.buffer, replies)
