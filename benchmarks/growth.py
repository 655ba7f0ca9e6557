"""Measures how Foveal's costs grow: with pictures, their size, streams, and context. Times, and memory beside them.

    python -m benchmarks.growth [--shape smol] [--plot growth.png] [--json growth.json] [-- OPTIONS OF foveal serve]

Each curve is one server from its start to its end, so that its memory is its own. The weights are random, of a
published shape (benchmarks/compare/shapes.py). A slope is that of the straight line through the points (least squares).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from benchmarks.compare import rows, visits
from benchmarks.compare.__main__ import CACHE
from benchmarks.compare.peers import Peer, Running, running
from benchmarks.compare.rows import Asker, Messages, first_s, user
from benchmarks.compare.shapes import SHAPES, checkpoint
from foveal.bench.client import open_client
from foveal.bench.records import Answer, Server
from foveal.bench.timing import tpot_s
from foveal.types import Size

ANSWER_TOKENS = 32
FILLING = "The rest of this text is of no interest. "

Ask = Callable[[Asker, int], Awaitable[list[Answer]]]


@dataclass(frozen=True)
class Curve:
    """What grows, at which values, and which of the two times it is about."""

    title: str
    values: tuple[int, ...]
    ask: Ask
    is_step: bool  # the time of a step; else that of the first token


@dataclass(frozen=True)
class Point:
    value: int
    first_s: float  # median over its answers
    step_s: float  # median time of a token after the first
    peak_bytes: int  # of the server until now
    prompt_tokens: int


async def _pictures(asker: Asker, count: int) -> list[Answer]:
    content = [part for _ in range(count) for part in user("", asker.picture())["content"][:1]]
    content += user(asker.question())["content"]
    return [await asker.ask([{"role": "user", "content": content}], ANSWER_TOKENS)]


async def _size(asker: Asker, side: int) -> list[Answer]:
    return [await asker.ask([user(asker.question(), asker.picture(Size(side, side)))], ANSWER_TOKENS)]


async def _streams(asker: Asker, count: int) -> list[Answer]:
    return list(await asyncio.gather(*(asker.ask(_text(asker), ANSWER_TOKENS) for _ in range(count))))


async def _context(asker: Asker, num_tokens: int) -> list[Answer]:
    """Nearly every byte is a token of these tokenizers."""
    words = " ".join([asker.question(), FILLING * (num_tokens // len(FILLING) + 1)])
    return [await asker.ask([user(words[:num_tokens])], ANSWER_TOKENS)]


def _text(asker: Asker) -> Messages:
    return [user(asker.question())]


CURVES = {
    "pictures": Curve("pictures in a request, 512 x 512", (1, 2, 4, 8), _pictures, is_step=False),
    "size": Curve("side of a picture, pixels", (224, 448, 672, 896), _size, is_step=False),
    "streams": Curve("streams at once", (1, 2, 4, 8, 16, 32, 64), _streams, is_step=True),
    "context": Curve("prompt tokens", (500, 1000, 2000, 4000, 7900), _context, is_step=True),
}


async def measure(server: Running, curve: Curve, times: int) -> list[Point]:
    """The first request of each server warms it up and is not counted."""
    async with open_client(Server(server.url, ""), rows.TIMEOUT_S) as client:
        model = (await client.get("models")).raise_for_status().json()["data"][0]["id"]
        asker = Asker(client, model, seed=0)
        await curve.ask(asker, curve.values[0])
        return [await _point(server, asker, curve, value, times) for value in curve.values]


async def _point(server: Running, asker: Asker, curve: Curve, value: int, times: int) -> Point:
    answers = [answer for _ in range(times) for answer in await curve.ask(asker, value)]
    return Point(
        value,
        median(first_s(answer) for answer in answers),
        median(tpot_s(answer.sample) or float("nan") for answer in answers),
        server.peak_bytes(),
        answers[0].sample.prompt_tokens or 0,
    )


# --- what comes out ---------------------------------------------------------------------------------------------------


def slope(points: Sequence[Point], of: Callable[[Point], float]) -> float:
    """Of the straight line through the points, a unit of what grows."""
    return float(np.polyfit([point.value for point in points], [of(point) for point in points], 1)[0])


def described(curve: Curve, points: Sequence[Point]) -> str:
    """One line a curve: its first and last value, its slopes, and the memory that it took."""
    first, last = points[0], points[-1]
    grown_first, grown_step = (1000 * slope(points, of) for of in (lambda p: p.first_s, lambda p: p.step_s))
    return (
        f"{curve.title}, {first.value} to {last.value}: "
        f"first token {first.first_s:.3g} to {last.first_s:.3g} s ({grown_first:.3g} ms each), "
        f"step {1000 * first.step_s:.3g} to {1000 * last.step_s:.3g} ms ({grown_step:.3g} ms each), "
        f"largest memory {first.peak_bytes / 1e9:.2f} to {last.peak_bytes / 1e9:.2f} GB"
    )


def plot(found: dict[str, list[Point]], title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.6), layout="constrained")
    panels = figure.subplots(2, len(found), squeeze=False, sharex="col")
    for (name, points), above, below in zip(found.items(), panels[0], panels[1], strict=True):
        curve = CURVES[name]
        values = [point.value for point in points]
        times = [1000 * point.step_s if curve.is_step else point.first_s for point in points]
        above.plot(values, times, "o-", color="#1f5fa8")
        above.set_ylabel("step, ms" if curve.is_step else "first token, s")
        below.plot(values, [point.peak_bytes / 1e9 for point in points], "o-", color="#d9730d")
        below.set_ylabel("largest memory, GB")
        below.set_xlabel(curve.title)
        for panel in (above, below):
            panel.set_ylim(bottom=0)
            panel.grid(alpha=0.3)
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=80, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="smol")
    parser.add_argument("--curves", default=",".join(CURVES), help=f"some of {','.join(CURVES)}")
    parser.add_argument("--times", type=int, default=2, help="repetitions of each point (default 2)")
    parser.add_argument(
        "--json", type=Path, help="keep what was measured here; curves that it has are not measured again"
    )
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the checkpoints")
    parser.add_argument("options", nargs="*", help="options of foveal serve, after --")
    asked = parser.parse_args()
    serve = (sys.executable, "-m", "foveal", "serve", str(checkpoint(asked.cache, asked.shape)), "--port", "PORT")
    found = _load(asked.json)
    for name in asked.curves.split(","):
        if name not in found:
            with running(Peer("Foveal", (*serve, *asked.options), "/readyz")) as server:
                found[name] = asyncio.run(measure(server, CURVES[name], asked.times))
            _save(asked.json, found)
        print(described(CURVES[name], found[name]), flush=True)
    if asked.plot:
        date = datetime.now(UTC).date()
        plot(found, f"{asked.shape} {' '.join(asked.options)}, {date}, {visits.machine()}", asked.plot)


def _load(path: Path | None) -> dict[str, list[Point]]:
    if path is None or not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, list[Point]])


def _save(path: Path | None, found: dict[str, list[Point]]) -> None:
    if path is not None:
        content = {name: [asdict(point) for point in points] for name, points in found.items()}
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))


if __name__ == "__main__":
    main()
