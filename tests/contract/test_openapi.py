"""The server keeps to its own OpenAPI document: schemathesis makes valid and invalid requests from the document, and
checks the answers against it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.environments import environment
from tests.contract.serve import KEY, serving

if TYPE_CHECKING:
    from tests.contract.serve import Served

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
MAX_MODEL_LEN = "64"  # tokens: schemathesis asks for as many as there can be


def test_every_answer_is_as_documented(tmp_path: Path) -> None:
    with serving(tmp_path / "log.txt", FOVEAL_ENGINE_MAX_MODEL_LEN=MAX_MODEL_LEN) as served:
        done = subprocess.run(command(served), cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def command(served: Served) -> list[str | Path]:
    program = environment("schemathesis") / "bin" / "st"
    return [
        program, "run", f"{served.url}/openapi.json", "--header", f"Authorization: Bearer {KEY}",
        "--phases", "examples,coverage,fuzzing", "--checks", ",".join(CHECKS), "--max-examples", "10",
        "--generation-deterministic", "--continue-on-failure", "--no-color",
    ]  # fmt: skip
