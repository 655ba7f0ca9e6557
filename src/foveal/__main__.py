"""The `foveal` command, and `python -m foveal`: Ctrl-C while it is imported ends it without a traceback."""

from __future__ import annotations

import signal


def main() -> None:
    on_interrupt = signal.getsignal(signal.SIGINT)
    if on_interrupt is signal.default_int_handler:  # not where a shell has it ignored, in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from foveal.cli import main as run

    signal.signal(signal.SIGINT, on_interrupt)
    run()


if __name__ == "__main__":
    main()
