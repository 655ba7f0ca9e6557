"""The engine's own process: `python -m foveal.engine.process FD`, with one end of a socket pair as FD.

It belongs to whoever holds the other end and lives no longer: a thread does nothing but read the socket, and when that
ends, so does the process, whatever the engine is doing. Nothing needs to be put away, for nothing is kept.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from queue import SimpleQueue

from foveal.arena import PixelArena
from foveal.engine.loading import load_engine
from foveal.engine.loop import EngineLoop
from foveal.engine.protocol import (
    Frames,
    FromEngine,
    LoadFailed,
    Progress,
    Ready,
    Start,
    ToEngine,
    decode_to_engine,
    frame,
)
from foveal.errors import CheckpointError, ConfigError

RECEIVE_BYTES = 1 << 16


def main(fd: int) -> None:
    """Serve the other end of the socket until it is closed."""
    for interrupt in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interrupt, signal.SIG_IGN)  # sent to the whole group; the server decides when the engine stops
    connection = socket.socket(fileno=fd)
    inbox: SimpleQueue[ToEngine] = SimpleQueue()
    threading.Thread(target=_read, args=(connection, inbox), name="foveal-engine-inbox", daemon=True).start()
    start = inbox.get()
    assert isinstance(start, Start)
    _serve(start, connection, inbox)


def _read(connection: socket.socket, inbox: SimpleQueue[ToEngine]) -> None:
    frames = Frames()
    while received := _receive(connection):
        for payload in frames.feed(received):
            inbox.put(decode_to_engine(payload))
    os._exit(0)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(RECEIVE_BYTES)
    except ConnectionError:
        return b""


def _serve(start: Start, connection: socket.socket, inbox: SimpleQueue[ToEngine]) -> None:
    def tell(message: FromEngine) -> None:
        try:
            connection.sendall(frame(message))
        except ConnectionError:
            os._exit(0)

    arena = PixelArena(start.arena_fd, start.arena_bytes)
    try:
        engine, info = load_engine(
            start.folder, start.config, arena, start.load_model, lambda share: tell(Progress(share))
        )
    except (CheckpointError, ConfigError) as error:
        tell(LoadFailed(str(error), is_setting=isinstance(error, ConfigError)))
        return
    tell(Ready(info))
    EngineLoop(engine, inbox, tell).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
