"""Every example of the documentation works, run as a reader would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from foveal.config import load_config
from tests.console import commands, is_shown
from tests.contract.environments import environment
from tests.contract.pictures import drawing
from tests.contract.serve import KEY, MODEL

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
WITHOUT_AN_ANSWER = {"/v1/tokenize", "/v1/responses/input_tokens", "/v1/messages/count_tokens", "/api/show"}
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
def test_a_command_is_answered_by_what_is_in_the_picture(served: Served, folder: Path, example: str) -> None:
    reply = run(["bash", "-c", at(served, example)], folder)
    counts = "/tokenize" in example
    assert re.search(r'"image_tokens":265\b' if counts else r"\b(red|square)\b", reply), reply


@pytest.mark.slow
def test_the_references_examples_are_answered_by_what_is_in_their_picture(served: Served) -> None:
    paths = httpx.get(f"{served.url}/openapi.json").json()["paths"]
    asked = {path: of["post"]["requestBody"] for path, of in paths.items() if "post" in of}
    answers = {
        path: served.post(path.replace("{model}", MODEL), body["content"]["application/json"]["example"])
        for path, body in asked.items()
    }
    assert {path for path, answer in answers.items() if answer.status_code != 200} == set()
    assert {path for path, answer in answers.items() if "square" not in answer.text} == WITHOUT_AN_ANSWER


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
