"""Every example of docs/api.md and docs/wires.md works, run as a reader would run it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.environments import environment
from tests.contract.pictures import drawing
from tests.contract.serve import KEY

if TYPE_CHECKING:
    from tests.contract.serve import Served

DOCS = Path(__file__).parents[2] / "docs"
API = "".join((DOCS / name).read_text("utf-8") for name in ("api.md", "wires.md"))
EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```", API, re.DOTALL | re.MULTILINE)
CURL = [text for language, text in EXAMPLES if language == "bash"]
CLIENTS = [(language, text) for language, text in EXAMPLES if language != "bash"]


def run(command: list[str | Path], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def at(served: Served, example: str) -> str:
    """The example for a server on another port, and with a key."""
    return (
        example.replace("http://127.0.0.1:8000", served.url)
        .replace("curl ", f"curl --silent --fail-with-body -H 'Authorization: Bearer {KEY}' ")
        .replace('"none"', f'"{KEY}"')
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drawing().save(tmp_path / "picture.png")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "example", CURL, ids=["chat", "response_format", "tokenize", "responses", "messages", "ollama"]
)
def test_a_command_is_answered(served: Served, folder: Path, example: str) -> None:
    reply = run(["bash", "-c", at(served, example)], folder)
    assert any(name in reply for name in ('"choices"', '"prompt_tokens"', '"output"', '"content"'))


@pytest.mark.clients
@pytest.mark.parametrize(
    ("language", "example"), CLIENTS, ids=["openai, streamed", "fireworks", "openai for JavaScript"]
)
def test_a_program_prints_an_answer(served: Served, folder: Path, language: str, example: str) -> None:
    if language == "python":
        program: list[str | Path] = [environment("openai_3") / "bin" / "python", "example.py"]
    else:
        program = ["node", "example.mjs"]
        (folder / "node_modules").symlink_to(environment("node") / "node_modules")
    (folder / str(program[1])).write_text(at(served, example))
    assert run(program, folder).strip()
