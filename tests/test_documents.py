"""The documents agree with the repository: links lead to files, and cited decisions exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (".github", "benchmarks", "docs", "src", "training")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
OURS = "https://github.com/foveal/foveal/blob/main/"
CODE = [path for folder in ("benchmarks", "src", "tests", "training") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8"))
    here = [target for target in targets if "://" not in target]
    assert [target for target in here if not (document.parent / target).exists()] == []
    ours = [target.removeprefix(OURS) for target in targets if target.startswith(OURS)]
    assert [target for target in ours if not (ROOT / target).exists()] == []


def test_the_index_names_each_decision_by_its_title() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| \[(\d+)\]\((.+?)\) \| (.+?) \|", index, re.MULTILINE)
    titles = {path.name: path.read_text("utf-8").partition("\n")[0] for path in DECISIONS}
    assert {name: f"# {number}: {title}" for number, name, title in rows} == titles


def test_code_cites_decisions_that_are_there() -> None:
    numbers = {path.name[:3] for path in DECISIONS}
    pattern = re.compile(r"decisions?[ /](\d{3})\b")
    cited = {number for path in CODE for number in pattern.findall(path.read_text("utf-8"))}
    assert cited <= numbers
