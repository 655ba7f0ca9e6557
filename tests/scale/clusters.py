"""A Ray cluster of several nodes on this machine, and what can happen to its processes. Imports Ray when it is used."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STORE_BYTES = 100 << 20
NUM_TRIES = 4  # to start a node


@contextmanager
def running(port: int, num_nodes: int = 2) -> Iterator[Any]:
    """A cluster with Serve at `port`: a head without room for engines, and nodes with room for two each."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster()
    try:
        add_node(cluster, num_cpus=0, include_dashboard=False)
        for _ in range(num_nodes):
            add_node(cluster)
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        yield cluster
        serve.shutdown()
    finally:
        ray.shutdown()
        cluster.shutdown()


def add_node(cluster: Any, num_cpus: int = 2, **options: object) -> None:
    """Tries again where a busy machine takes longer than the 30 s that Ray gives a node to start."""
    for num_left in reversed(range(NUM_TRIES)):
        try:
            cluster.add_node(num_cpus=num_cpus, object_store_memory=STORE_BYTES, **options)
            return
        except Exception as error:
            if not num_left or "timed out" not in str(error):
                raise


def replicas_below(node: Any, deployment: str) -> list[int]:
    """The process ids of a deployment's replicas: those on a node, or, with None, all that this process has started."""
    ancestor = os.getpid() if node is None else node.all_processes["raylet"][0].process.pid
    return sorted(pid for pid in _descendants(ancestor) if f":{deployment}" in _title(pid))


def cpu_seconds(name: str) -> float:
    """What the workers with `name` in their titles have computed so far, of all that this process has started."""
    found = [pid for pid in _descendants(os.getpid()) if name in _read(pid, "cmdline")]
    return sum(map(_cpu_ticks, found)) / os.sysconf("SC_CLK_TCK")


def busiest(pids: list[int]) -> int:
    """The one that has computed most. Ray's proxy prefers replicas on its own node, so others may have no request."""
    return max(pids, key=_cpu_ticks)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _cpu_ticks(pid: int) -> int:
    return sum(map(int, _read(pid, "stat").rpartition(")")[2].split()[11:13]))


def _title(pid: int) -> str:
    title = _read(pid, "cmdline")
    return title if title.startswith("ray::ServeReplica") else ""


def _descendants(ancestor: int) -> set[int]:
    parents = {int(entry.name): _parent(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found, number = {ancestor}, 0
    while len(found) > number:
        number = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""  # it has ended
