"""A run as JSON: every setting, when and where it was measured, the reports, and a row for each request.

Times are in seconds, those of a row from the run's first request on. API keys are not written.
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from foveal import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.bench.program import Result
    from foveal.bench.records import Sample

FORMAT = 1  # raised when a field changes its meaning


def write_json(result: Result, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(as_json(result)), indent=2))


def as_json(result: Result) -> dict[str, object]:
    zero_s = min((sample.start_s for samples in result.run.samples for sample in samples), default=0.0)
    return {
        "format": FORMAT,
        "foveal": __version__,
        "date": result.date.isoformat(timespec="seconds"),
        "machine": machine(),
        "workload": asdict(result.workload),
        "is_cut": result.run.is_cut,
        "generator": {"cpu_share": result.run.cpu_share, "waited_for_pictures_s": result.run.waited_s},
        "servers": [_server(result, index, zero_s) for index in range(len(result.servers))],
        "ratios": [asdict(ratio) for ratio in result.ratios],
        "failed_expectations": list(result.failures),
    }


def machine() -> dict[str, object]:
    """The machine that generated the load."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
    }


def _server(result: Result, index: int, zero_s: float) -> dict[str, object]:
    server = result.servers[index]
    return {
        "url": server.url,
        "model": server.model,
        "report": asdict(result.reports[index]),
        "rounds": [[started_s - zero_s, ended_s - zero_s] for _, started_s, ended_s in result.run.rounds[index]],
        "requests": _rows(result.run.samples[index], zero_s),
    }


def _rows(samples: Sequence[Sample], zero_s: float) -> list[dict[str, object]]:
    return [_row(sample, zero_s) for sample in sorted(samples, key=lambda sample: sample.start_s)]


def _row(sample: Sample, zero_s: float) -> dict[str, object]:
    row = asdict(sample)
    del row["request"]
    for name in ("start_s", "sent_s", "ended_s", "last_s"):
        row[name] = None if row[name] is None else round(row[name] - zero_s, 6)
    row["chunks_s"] = [round(at_s - zero_s, 6) for at_s in sample.chunks_s]
    return sample.request._asdict() | row


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
