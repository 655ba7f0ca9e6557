"""The documentation as a site: it is built without a warning, and its pages load nothing from another host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("zensical", reason="make docs installs it")
ROOT = Path(__file__).parents[1]
LOADED = re.compile(r"""<(?:script|img|iframe|source|video)[^>]*\ssrc="?([^"\s>]+)|<link[^>]*\shref="?([^"\s>]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


def test_each_document_is_a_page(site: Path) -> None:
    documents = [path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")]
    pages = {path.relative_to(site) for path in site.rglob("*.html")}
    expected = {path.parent if path.name in ("index", "README") else path for path in documents}
    assert {path / "index.html" for path in expected} <= pages


def test_pages_load_nothing_from_another_host(site: Path) -> None:
    loaded = {
        source or link for page in site.rglob("*.html") for source, link in LOADED.findall(page.read_text("utf-8"))
    }
    assert loaded
    assert [address for address in loaded if re.match("(https?:)?//", address)] == []
    styles = "".join(style.read_text("utf-8") for style in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//|@import", styles)


def test_each_document_is_in_the_menu_or_among_the_decisions() -> None:
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    documents = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").glob("*.md")]
    assert [path for path in documents if f": {path}\n" not in menu] == []
