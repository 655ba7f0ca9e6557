"""The engine's own process. `serve` runs in it, with one end of a socket pair.

The process ends when the server closes its end. A thread does nothing but read the socket, and ends the process at
once, whatever the engine is doing. There is no state to save.
"""

from __future__ import annotations

import os
import socket
import threading
from queue import SimpleQueue

from foveal.arena import PixelArena
from foveal.engine.loading import load_engine
from foveal.engine.loop import EngineLoop
from foveal.engine.protocol import FROM_ENGINE, START, TO_ENGINE, FromEngine, LoadFailed, Progress, Ready, ToEngine
from foveal.errors import CheckpointError, ConfigError
from foveal.workers.frames import HungUp, receive, send
from foveal.workers.limits import Limits, give_up


def serve(server: socket.socket) -> None:
    """Load a model and continue prompts until the server closes the connection."""
    start = receive(server, START)
    inbox: SimpleQueue[ToEngine] = SimpleQueue()
    threading.Thread(target=_read, args=(server, inbox), name="foveal-engine-inbox", daemon=True).start()

    def tell(message: FromEngine) -> None:
        try:
            send(server, FROM_ENGINE.frame(message))
        except HungUp:
            os._exit(0)

    arena = PixelArena(start.arena_fd, start.arena_bytes)
    try:
        engine, info = load_engine(
            start.folder, start.config, arena, start.load_model, lambda share: tell(Progress(share))
        )
    except (CheckpointError, ConfigError) as error:
        tell(LoadFailed(str(error), is_setting=isinstance(error, ConfigError)))
        return
    give_up(Limits())  # memory and open files are not limited: what is needed depends on the device
    tell(Ready(info))
    EngineLoop(engine, inbox, tell).run()


def _read(server: socket.socket, inbox: SimpleQueue[ToEngine]) -> None:
    try:
        while True:
            inbox.put(receive(server, TO_ENGINE))
    except HungUp:
        os._exit(0)
