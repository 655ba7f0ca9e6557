"""The table of docs/models.md: which types of transformers are served, and why the others are not.

`python -m tests.parity.generic.table` writes it. What is called exact is what `make nightly` compares.
"""

from __future__ import annotations

import re
from pathlib import Path

from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from foveal.models.generic.types import REFUSED, VERIFIED
from foveal.models.registry import FAMILIES

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
BEGIN, END = "<!-- types: python -m tests.parity.generic.table -->\n", "<!-- end of types -->\n"
UNTRIED = "not compared yet, so refused"


def table() -> str:
    known = sorted({*MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, *VERIFIED} - set(FAMILIES))
    outcomes = {kind: "exact" if kind in VERIFIED else f"refused: {REFUSED[kind]}" for kind in known if _is_tried(kind)}
    outcomes |= {kind: UNTRIED for kind in known if not _is_tried(kind)}
    order = sorted(set(outcomes.values()), key=lambda outcome: (outcome != "exact", outcome == UNTRIED, outcome))
    lines = ["| types | outcome |", "|---|---|"]
    for outcome in order:
        kinds = [kind for kind in known if outcomes[kind] == outcome]
        lines.append(f"| {', '.join(f'`{kind}`' for kind in kinds)} ({len(kinds)}) | {outcome} |")
    return "\n".join(lines) + "\n"


def _is_tried(kind: str) -> bool:
    return kind in VERIFIED or kind in REFUSED


def with_table(text: str) -> str:
    return re.sub(f"{BEGIN}.*{END}", lambda _: BEGIN + table() + END, text, flags=re.DOTALL)


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text("utf-8")), "utf-8")
