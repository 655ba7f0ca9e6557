"""Every example of the documentation works, run as a reader would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from foveal.config import load_config
from tests.console import commands, is_shown
from tests.contract.environments import environment
from tests.contract.pictures import drawing
from tests.contract.serve import KEY

if TYPE_CHECKING:
    from tests.contract.serve import Served

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {path.name: path.read_text("utf-8") for path in sorted(DOCS.glob("*.md"))}
EXAMPLES = [
    (name, language, text)
    for name, page in PAGES.items()
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
]
CURL = [pytest.param(text, id=name) for name, language, text in EXAMPLES if language == "bash"]
CLIENTS = [
    (language, text) for name, language, text in EXAMPLES if language in ("python", "javascript") and "base64" in text
]
PROGRAMS = [text for _, language, text in EXAMPLES if language == "python" and "base64" not in text]
SETTINGS = [pytest.param(text, id=name) for name, language, text in EXAMPLES if language == "toml"]
CONSOLES = [name for name, page in PAGES.items() if "```console" in page]
RUN_BY_A_TEST = {"bash", "console", "javascript", "python", "toml"}


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
@pytest.mark.parametrize("example", CURL)
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


def test_each_language_of_the_examples_is_run() -> None:
    assert {language for _, language, _ in EXAMPLES} == RUN_BY_A_TEST


@pytest.mark.parametrize("example", PROGRAMS)
def test_a_program_without_a_server_runs(folder: Path, example: str) -> None:
    run([sys.executable, "-c", example], folder)


@pytest.mark.parametrize("example", SETTINGS)
def test_a_configuration_file_is_taken(folder: Path, example: str) -> None:
    (folder / "foveal.toml").write_text(example)
    load_config(folder / "foveal.toml", environ={}, flags={})


@pytest.mark.parametrize("page", CONSOLES)
def test_commands_of_a_page_give_what_it_shows(folder: Path, page: str) -> None:
    """In their order, since later ones need what earlier ones made."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"FOVEAL_ACCOUNTING_PATH": str(folder / "accounting.db"), "PATH": path}
    for command, shown in commands(PAGES[page]):
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert is_shown(done.stdout, shown), done.stdout
