"""A run as a plot: how times are distributed, and when each request waited and was answered.

matplotlib is an extra (`pip install 'foveal[bench]'`). If it is missing, `--plot` fails before the run.
"""

from __future__ import annotations

from collections import defaultdict
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from foveal.bench import timing
from foveal.bench.report import times
from foveal.bench.show import milliseconds
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from foveal.bench.program import Result
    from foveal.bench.records import Sample

COLOURS = ("#1f5fa8", "#d9730d")  # distinguishable by colour-blind readers, and in grey
FAILED = "#b3261e"
WAITING_ALPHA = 0.35
DPI = 120
TIMELINE_POINTS = 290.0  # its height on paper
LINE_SHARE = 0.8  # of the height that a request has

Look = tuple[str, float]  # colour, alpha
Span = tuple[int, float, float]  # height, from, to


def check_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib: pip install 'foveal[bench]'")


def write_plot(result: Result, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    panels = figure.subplot_mosaic([["ttft", "gap"], ["timeline", "timeline"]], height_ratios=[1, 1.2])
    _draw_ecdf(panels["ttft"], result, "time to first token", [_ttfts(samples) for samples in result.run.samples])
    _draw_ecdf(panels["gap"], result, "gap between chunks", [_gaps(samples) for samples in result.run.samples])
    _draw_timeline(panels["timeline"], result)
    figure.suptitle(_title(result), fontsize=10)
    figure.savefig(path, dpi=DPI, format="png")


def _title(result: Result) -> str:
    servers = " and ".join(f"{server.model} at {server.url}" for server in result.servers)
    return f"{servers}\n{result.summary}"


def _ttfts(samples: Sequence[Sample]) -> list[float]:
    return times((sample for sample in samples if sample.error is None), timing.ttft_s)


def _gaps(samples: Sequence[Sample]) -> list[float]:
    return [gap for sample in samples if sample.error is None for gap in timing.gaps_s(sample)]


def _draw_ecdf(axes: Axes, result: Result, what: str, times_s: Sequence[Sequence[float]]) -> None:
    """The share of values up to each time; a step up to the left is better."""
    for server, values_s, colour in zip(result.servers, times_s, COLOURS, strict=False):
        if values_s:
            values_ms = 1000 * np.asarray(values_s)
            axes.ecdf(
                values_ms, color=colour, label=f"{server.url} (median {milliseconds(float(np.median(values_s)))} ms)"
            )
    axes.set(xlabel=f"{what}, ms", ylabel="share", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="lower right")
    else:
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)


def _draw_timeline(axes: Axes, result: Result) -> None:
    """A line for each request, in the order of their starts."""
    from matplotlib.ticker import MaxNLocator

    rows = sorted(
        ((sample, index) for index, samples in enumerate(result.run.samples) for sample in samples),
        key=lambda row: row[0].start_s,
    )
    zero_s = rows[0][0].start_s if rows else 0.0
    width = LINE_SHARE * TIMELINE_POINTS / max(1, len(rows))
    for (colour, alpha), spans in _spans(rows, zero_s).items():
        heights, starts_s, ends_s = zip(*spans, strict=True)
        axes.hlines(heights, starts_s, ends_s, colors=colour, alpha=alpha, linewidth=width)
    axes.set(xlabel="s", ylabel="request", ylim=(len(rows) + 0.5, 0.5))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(left=0)
    axes.set_title("pale: until the first token; full: until the end; red: failed", fontsize=9, loc="left")


def _spans(rows: Sequence[tuple[Sample, int]], zero_s: float) -> dict[Look, list[Span]]:
    """The lines of each look, so that matplotlib draws one collection a look, not one a request."""
    spans: dict[Look, list[Span]] = defaultdict(list)
    for height, (sample, index) in enumerate(rows, 1):
        start_s, ended_s = sample.start_s - zero_s, sample.ended_s - zero_s
        if sample.error is not None:
            spans[FAILED, 1.0].append((height, start_s, ended_s))
            continue
        first_s = (sample.chunks_s[0] if sample.chunks_s else sample.ended_s) - zero_s
        spans[COLOURS[index], WAITING_ALPHA].append((height, start_s, first_s))
        spans[COLOURS[index], 1.0].append((height, first_s, ended_s))
    return spans
