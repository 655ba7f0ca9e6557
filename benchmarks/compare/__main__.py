"""Measures Foveal and every other server that is there, in turn, and prints a table.

    python -m benchmarks.compare --quick
    python -m benchmarks.compare --rounds 3 --json compare.json --write docs/performance.md
    python -m benchmarks.compare --peer llama=/opt/llama.cpp/llama-server --python gguf=/opt/tools/bin/python

Servers are found on PATH (llama-server, vllm) and in this Python (transformers), or where --peer and --python say.
llama-server needs GGUF files, so a Python with the package gguf. One server runs at a time, each from its start to its
end, and rounds alternate between them. With --json a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from benchmarks.compare import table, visits
from benchmarks.compare.ceilings import ceilings
from benchmarks.compare.peers import Peer, find, peers
from benchmarks.compare.rows import GROUPS
from benchmarks.compare.shapes import SHAPES

CACHE = Path.home() / ".cache" / "foveal-compare"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one shape, one round, few repetitions")
    parser.add_argument("--shapes", type=words(SHAPES), default=list(SHAPES), help=f"some of {','.join(SHAPES)}")
    parser.add_argument("--rows", type=words(GROUPS), default=list(GROUPS), help=f"some of {','.join(GROUPS)}")
    parser.add_argument("--only", help="peers whose names hold one of these words, such as 'Foveal int8,q8_0'")
    parser.add_argument("--rounds", type=int, default=2, help="visits of each server (default 2)")
    parser.add_argument("--times", type=int, default=3, help="repetitions in a visit (default 3)")
    parser.add_argument("--json", type=Path, help="keep what was measured here, and go on from it")
    parser.add_argument("--write", type=Path, help="put the table between the marks of this page")
    parser.add_argument("--no-ceilings", action="store_true", help="do not measure the machine itself")
    parser.add_argument("--report", action="store_true", help="measure nothing: the table of --json")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the checkpoints (5 to 15 GB)")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", help="llama or vllm")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="gguf or transformers")
    return parser.parse_args()


def words(names: Collection[str]) -> Callable[[str], list[str]]:
    """Parses some of the names, with commas between them."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(names):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(names)}")
        return chosen

    return parse


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # so that servers are ended as well
    asked = arguments()
    if asked.quick:
        asked.shapes, asked.rounds, asked.times = asked.shapes[:1], 1, min(asked.times, 2)
    measured = visits.load(asked.json)
    if not asked.report:
        measure(asked, measured)
    print(table.markdown(measured))
    if asked.write:
        table.write(measured, asked.write)


def measure(asked: argparse.Namespace, measured: visits.Measured) -> None:
    programs = find(dict(named.split("=", 1) for named in asked.peer + asked.python))
    there = {shape: chosen(peers(programs, asked.cache, shape), asked.only) for shape in asked.shapes}
    for number in range(asked.rounds):
        if not asked.no_ceilings:
            measured.ceilings.append(ceilings())
        for shape, found in there.items():
            for peer in found:
                groups = [group for group in asked.rows if not measured.has(shape, peer.name, number, group)]
                if groups:
                    print(f"round {number + 1}: {shape}, {peer.name}", file=sys.stderr, flush=True)
                    measured.visits.append(visits.visit(peer, shape, number, groups, asked.times))
                    visits.save(measured, asked.json)


def chosen(found: list[Peer], only: str | None) -> list[Peer]:
    return [peer for peer in found if not only or any(word in peer.name for word in only.split(","))]


if __name__ == "__main__":
    main()
