"""Drops a child's privileges and limits its resources before it reads untrusted data. Linux enforces both."""

from __future__ import annotations

import ctypes
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of a process; None: not limited here."""

    memory_bytes: int | None = None  # address space beyond what is mapped when the limit is set
    max_num_files: int | None = None  # open at once
    max_file_bytes: int | None = None  # of a file that the process writes


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def give_up(limits: Limits) -> None:
    """Set `limits`, forbid that started programs gain privileges, and turn core dumps off. Cannot be undone."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    values = {
        resource.RLIMIT_AS: None if limits.memory_bytes is None else _address_space_bytes() + limits.memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits.max_file_bytes,
        resource.RLIMIT_NOFILE: limits.max_num_files,
    }
    for limit, value in values.items():
        if value is not None:
            resource.setrlimit(limit, (value, value))


def _address_space_bytes() -> int:
    num_pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return num_pages * resource.getpagesize()


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
