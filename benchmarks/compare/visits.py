"""Visits: a server is started, asked, and ended. A file keeps what was measured, so that a run can go on later."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec

from benchmarks.compare.peers import NotStarted, Peer, running
from benchmarks.compare.rows import Failed, measure


@dataclass
class Visit:
    shape: str
    peer: str
    round: int
    groups: list[str]
    values: dict[str, list[float]] = field(default_factory=dict)
    image_tokens: float = 0
    error: str | None = None  # then there are no values


@dataclass
class Measured:
    """The file. Ceilings are measured once a round."""

    machine: str
    date: str
    ceilings: list[dict[str, float]] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)

    def has(self, shape: str, peer: str, number: int, group: str) -> bool:
        return any((v.shape, v.peer, v.round) == (shape, peer, number) and group in v.groups for v in self.visits)


def visit(peer: Peer, shape: str, number: int, groups: list[str], times: int) -> Visit:
    """An error of one server is its result, so that the others are measured all the same."""
    found = Visit(shape, peer.name, number, groups)
    try:
        with running(peer) as server:
            found.values, found.image_tokens = asyncio.run(measure(server.url, groups, times, time.time_ns()))
            found.values |= {"ready": [server.ready_s], "peak": [server.peak_bytes() / 1e9]}
    except (NotStarted, Failed, httpx.HTTPError) as error:
        found.error = str(error) or type(error).__name__
        print(found.error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
    return found


def load(path: Path | None) -> Measured:
    """What the file has, or an empty one for this machine and day."""
    if path is not None and path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Measured)
    return Measured(machine(), datetime.now(UTC).date().isoformat())


def save(measured: Measured, path: Path | None) -> None:
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=1))


def machine() -> str:
    """Cores, the processor's name, and the instructions that decide speed."""
    described = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in described.splitlines())}
    flags = set(fields.get("flags", "").split())
    known = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if name in flags]
    name = fields.get("model name", platform.machine())
    return f"{os.cpu_count()} cores of {name} ({', '.join(known)}), Python {platform.python_version()}"
