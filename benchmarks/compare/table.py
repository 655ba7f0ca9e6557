"""What was measured -> Markdown: medians, and our best beside the fastest of the others."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.compare.visits import Measured

BEGIN, END = "<!-- compare: begin -->", "<!-- compare: end -->"


class Row(NamedTuple):
    key: str
    title: str
    scale: float  # from the stored unit to the shown one
    is_time: bool  # smaller is better


ROWS = (
    Row("first", "first token, unseen image, s", 1, True),
    Row("again", "the same request again, ms", 1000, True),
    Row("turn", "second turn, ms", 1000, True),
    Row("short", "one token about text, ms", 1000, True),
    Row("decode1", "decoding, 1 stream, tokens/s", 1, False),
    Row("decode4", "4 streams, tokens/s", 1, False),
    Row("decode16", "16 streams, tokens/s", 1, False),
    Row("wall8", "8 images at once, s", 1, True),
    Row("rate8", "8 images at once, tokens/s", 1, False),
    Row("ready", "ready after start, s", 1, True),
    Row("peak", "largest memory, GB", 1, True),
)
EQUAL_WIDTH = (("Foveal int8", "llama.cpp q8_0"), ("Foveal int4", "llama.cpp q4_0"))


def markdown(measured: Measured) -> str:
    shapes = dict.fromkeys(visit.shape for visit in measured.visits)
    return "\n\n".join([_machine(measured), *(_shape(measured, shape) for shape in shapes)]) + "\n"


def write(measured: Measured, page: Path) -> None:
    """Replaces what stands between the two marks of a page."""
    text = page.read_text()
    inside = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not inside.search(text):
        raise SystemExit(f"{page} has no marks {BEGIN} ... {END}")
    page.write_text(inside.sub(lambda _: f"{BEGIN}\n{markdown(measured)}{END}", text))


def _machine(measured: Measured) -> str:
    lines = [f"Measured {measured.date} by `python -m benchmarks.compare` on {measured.machine}."]
    if measured.ceilings:
        best = {name: max(each[name] for each in measured.ceilings) for name in measured.ceilings[0]}
        lines.append(
            "What the machine can do: " + ", ".join(f"{name} {value:.0f}" for name, value in best.items()) + "."
        )
    return "\n".join(lines)


def _shape(measured: Measured, shape: str) -> str:
    peers = list(dict.fromkeys(v.peer for v in measured.visits if v.shape == shape and v.error is None))
    medians = {(row.key, peer): _median(measured, shape, peer, row.key) for row in ROWS for peer in peers}
    lines = [
        f"**{shape}**: " + ", ".join(f"{peer} {_image(measured, shape, peer)}" for peer in peers) + ".",
        "",
        "| | " + " | ".join([*peers, "our best / fastest other"]) + " |",
        "|---" * (len(peers) + 2) + "|",
        *(_line(row, peers, medians) for row in ROWS if any(medians[row.key, peer] for peer in peers)),
        *_at_equal_width(medians),
    ]
    failed = dict.fromkeys(f"{v.peer}: {v.error}" for v in measured.visits if v.shape == shape and v.error)
    return "\n".join([*lines, *(f"\nNot measured, {' '.join(each.split())[:200]}" for each in failed)])


def _image(measured: Measured, shape: str, peer: str) -> str:
    tokens = [v.image_tokens for v in measured.visits if (v.shape, v.peer) == (shape, peer) and v.image_tokens]
    return f"takes {median(tokens):.0f} tokens an image" if tokens else "has seen no image"


def _median(measured: Measured, shape: str, peer: str, key: str) -> float | None:
    visits = [v for v in measured.visits if (v.shape, v.peer) == (shape, peer)]
    values = [value for v in visits for value in v.values.get(key, ())]
    return median(values) if values else None


def _line(row: Row, peers: list[str], medians: dict[tuple[str, str], float | None]) -> str:
    found = {peer: value for peer in peers if (value := medians[row.key, peer]) is not None}
    best = min if row.is_time else max
    fastest = best(found.values())
    shown = [_cell(row, found.get(peer), fastest) for peer in peers]
    ours = [value for peer, value in found.items() if peer.startswith("Foveal")]
    others = [value for peer, value in found.items() if not peer.startswith("Foveal")]
    ratio = f"{best(ours) / best(others):.2f}" if ours and others else ""
    return f"| {row.title} | " + " | ".join([*shown, ratio]) + " |"


def _cell(row: Row, value: float | None, fastest: float) -> str:
    if value is None:
        return ""
    text = f"{value * row.scale:.3g}" if value * row.scale < 1000 else f"{value * row.scale:.0f}"
    return f"**{text}**" if value == fastest else text


def _at_equal_width(medians: dict[tuple[str, str], float | None]) -> list[str]:
    """Decoding by width of the weights, because fewer bytes are read in less time by anybody."""
    said = []
    for ours, theirs in EQUAL_WIDTH:
        pairs = [(medians.get((f"decode{n}", ours)), medians.get((f"decode{n}", theirs))) for n in (1, 4, 16)]
        ratios = [f"{a / b:.2f}" for a, b in pairs if a and b]
        if ratios:
            said.append(f"\nDecoding, {ours} / {theirs}, 1, 4 and 16 streams: {', '.join(ratios)}.")
    return said
