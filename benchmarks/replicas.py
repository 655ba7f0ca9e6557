"""Measures what an ingress on a Ray cluster costs: paced engines, more and more of them, behind one.

Each engine gives a fixed number of tokens a second, each token in a message of its own. Where all together give fewer,
the rest of the cluster, on the same cores as the clients, is what is measured.

    python -m benchmarks.replicas [--plot docs/images/replicas.png]

Needs foveal[ray]. Results: benchmarks/replicas.txt.
"""

from __future__ import annotations

import argparse
import os
import platform
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.on_ray import asked, cluster, deployed
from benchmarks.paced import Pace, PacedDeployment
from tests.scale.clusters import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMS_REPLICAS = (1, 2, 4, 8)
NUM_STREAMS = 10  # of each engine
LENGTH = 60  # tokens of an answer
ENOUGH = 0.6  # of what all engines give; with less than that there is no going on


class Engines(PacedDeployment):
    pace = Pace(step_s=0.1, max_num_seqs=NUM_STREAMS)


class Row(NamedTuple):
    num_replicas: int
    tokens_per_s: float
    first_s: float  # median
    ingress_ms: float  # CPU time for each token
    proxy_ms: float

    @property
    def paced_tokens_per_s(self) -> float:
        return self.num_replicas * NUM_STREAMS / Engines.pace.step_s


def measured(num_replicas: int) -> Row:
    num_streams = num_replicas * NUM_STREAMS
    options = {"--images": 0, "--max-tokens": LENGTH, "--concurrency": num_streams, "--requests": num_streams}
    with deployed(num_replicas, Engines):
        asked({**options, "--max-tokens": 2})  # connections, imports
        before = [cpu_seconds(name) for name in (":ingress", "ProxyActor")]
        report = asked(options)["report"]
        after = [cpu_seconds(name) for name in (":ingress", "ProxyActor")]
    assert report["num_failed"] == 0, report["errors"]
    took_ms = [1000 * (end - start) / report["output_tokens"] for start, end in zip(before, after, strict=True)]
    return Row(num_replicas, report["output_tokens_per_s"], report["ttft"]["p50"], *took_ms)


def draw(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    numbers = [row.num_replicas for row in rows]
    axes.plot(numbers, [row.paced_tokens_per_s for row in rows], "--", color="#888888", label="what the engines give")
    axes.plot(numbers, [row.tokens_per_s for row in rows], "o-", color="#1f5fa8", label="what clients get")
    axes.set(xlabel="paced engines", ylabel="tokens a second", xticks=numbers, xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plot", type=Path)
    path = parser.parse_args().plot
    print(f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"{NUM_STREAMS} streams for each engine, {Engines.pace}")
    print(
        f"{'engines':>8}{'streams':>9}{'paced tok/s':>13}{'tok/s':>8}{'first s':>9}{'ingress ms':>12}{'proxy ms':>10}"
    )
    rows = list[Row]()
    with cluster():
        for num_replicas in NUMS_REPLICAS:
            row = measured(num_replicas)
            rows.append(row)
            print(
                f"{num_replicas:8}{num_replicas * NUM_STREAMS:9}{row.paced_tokens_per_s:13.0f}{row.tokens_per_s:8.0f}"
                f"{row.first_s:9.2f}{row.ingress_ms:12.2f}{row.proxy_ms:10.2f}",
                flush=True,
            )
            if row.tokens_per_s < ENOUGH * row.paced_tokens_per_s:
                break
    print("ingress ms, proxy ms: CPU time for each token that clients get")
    if path:
        draw(rows, path)


if __name__ == "__main__":
    main()
