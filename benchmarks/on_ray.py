"""What the measurements of Ray clusters share: paced engines behind an ingress, and `foveal bench` against them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import serve

from foveal.config import AccountingConfig, Config, EngineConfig, HttpConfig, ImageConfig, ModelConfig, ScaleoutConfig
from foveal.scaleout.application import NAME, application
from tests.scale import clusters

if TYPE_CHECKING:
    from benchmarks.paced import PacedDeployment

PORT = 8137


@contextmanager
def cluster() -> Iterator[None]:
    os.environ["PYTHONPATH"] = os.getcwd()  # for the programs of a cluster
    with clusters.running(PORT):
        yield


@contextmanager
def deployed(num_replicas: int, engine: type[PacedDeployment], router: Any = None) -> Iterator[None]:
    """`router`: one of Ray's; without it Foveal's."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            model=ModelConfig(path="foveal-mini"),
            engine=EngineConfig(max_num_seqs=engine.pace.max_num_seqs),
            images=ImageConfig(num_workers=1),
            http=HttpConfig(port=PORT),
            accounting=AccountingConfig(path=str(Path(folder) / "accounts.db")),
            scaleout=ScaleoutConfig(num_replicas=num_replicas, num_cpus=0.01),
        )
        serve.run(application(config, engine, router), name=NAME)
        yield
        serve.delete(NAME)


def asked(options: Mapping[str, object]) -> dict[str, Any]:
    """What `foveal bench` reports, with a row for each request."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        named = [str(part) for item in options.items() for part in item]
        command = [sys.executable, "-m", "foveal", "bench", f"http://127.0.0.1:{PORT}", "--ignore-eos", *named]
        subprocess.run([*command, "--json", file.name], check=True, stdout=sys.stderr)
        [server] = json.loads(Path(file.name).read_bytes())["servers"]
        return server  # type: ignore[no-any-return]
