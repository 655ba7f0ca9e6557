"""How much memory this process and its children hold, as Linux counts it, and giving back what is no longer used."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")
ROOT = "foveal."


def resident_bytes() -> dict[str, int]:
    """Of this process (`server`), and of its children by the folder of `foveal` whose function they run.

    Pages that several processes map count for each of them.
    """
    found = {"server": _resident(PROC / "self")}
    for child in _children():
        try:
            name, num_bytes = _name(child), _resident(child)
        except (OSError, IndexError, ValueError):  # it has ended meanwhile
            continue
        found[name] = found.get(name, 0) + num_bytes
    return found


def give_back() -> None:
    """Return freed memory to the system. glibc keeps it: to read a large vocabulary leaves hundreds of megabytes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim:
        trim(0)


def _children() -> list[Path]:
    """Each thread lists those that it started."""
    lists = [children.read_text("ascii").split() for children in (PROC / "self" / "task").glob("*/children")]
    return [PROC / pid for pids in lists for pid in pids]


def _resident(process: Path) -> int:
    return int((process / "statm").read_text("ascii").split()[1]) * PAGE


def _name(process: Path) -> str:
    """`engine` of a child that runs foveal.engine.start:run (see `spawn`)."""
    arguments = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    run = next((each for each in arguments if each.startswith(ROOT) and ":" in each), None)
    return "other" if run is None else run.split(".")[1].partition(":")[0]
