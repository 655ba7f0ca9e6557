"""The entry point of every child: `python -P -m foveal.workers.child MODULE:FUNCTION FD`.

The function is called with the child's end of a socket pair, FD. The first message there is the child's settings. The
child ends when the other end is closed. Imports next to nothing; knows nothing of the function and sets no limits.
"""

from __future__ import annotations

import gc
import pkgutil
import signal
import socket
import sys
from contextlib import suppress

from foveal.workers.frames import HungUp
from foveal.workers.limits import end_with_parent
from foveal.workers.stderr import speak


def main(function: str, fd: int) -> None:
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_IGN)  # may be sent to a whole group; the server ends its children
    end_with_parent()
    speak()
    gc.disable()  # imports make no garbage, and searching for it is a fifth of their time
    called = pkgutil.resolve_name(function)
    gc.freeze()  # what was imported stays, so no later search looks at it
    gc.enable()
    with socket.socket(fileno=fd) as server, suppress(HungUp):
        called(server)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
