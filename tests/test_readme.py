"""Every command of the README does what the README says."""

import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.console import commands, is_shown

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
OURS = re.compile(r"https://(?:github\.com/foveal/foveal/blob|raw\.githubusercontent\.com/foveal/foveal)/main/(\S+)")
SERVE = "make serve"
NOT_RUN_HERE = {
    "make test": "this is what runs",
    "make check": "the gate runs it beside the tests",
    "pip install foveal": "would test what an index has, not what is here",
    "git clone --depth 1 https://github.com/foveal/foveal && cd foveal": "the same of the repository",
}


RUN = [(command, shown) for command, shown in commands(README) if command != SERVE and command not in NOT_RUN_HERE]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where `make serve` listens, instead of 8000."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    with subprocess.Popen([*SERVE.split(), f"PORT={number}"], cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if "Ready after" in line:
                    break
            with urlopen(f"http://127.0.0.1:{number}/readyz") as ready:
                assert ready.status == 200
            yield number
        finally:
            server.terminate()


def test_the_readme_starts_the_server_as_we_do_here() -> None:
    assert SERVE in dict(commands(README))
    assert RUN


@pytest.mark.parametrize(("command", "shown"), RUN, ids=[command.splitlines()[0][:60] for command, _ in RUN])
def test_a_command_gives_what_the_readme_shows(command: str, shown: str, port: int) -> None:
    command = command.replace("port 8000", f"port {port}")
    command = command.replace(":8000", f":{port}")
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    assert is_shown(ran.stdout, shown)


def test_links_and_pictures_work_on_a_package_index_too() -> None:
    """There they cannot be relative; those to this repository lead to files that are here."""
    targets = re.findall(r"^\[[^]]+\]: (\S+)$|\]\(([^)]+)\)", README, re.MULTILINE)
    urls = [url for pair in targets for url in pair if url]
    assert [url for url in urls if not url.startswith("https://")] == []
    ours = [match[1] for url in urls if (match := OURS.fullmatch(url))]
    assert ours
    assert [path for path in ours if not (ROOT / path).is_file()] == []
