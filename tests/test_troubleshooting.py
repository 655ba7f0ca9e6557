"""docs/troubleshooting.md has each kind of error, and quotes messages as the code writes them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from foveal import errors
from foveal.errors import FovealError, RequestError
from foveal.http.dialects.openai.dialect import OPENAI

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
QUOTED = re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)
CLASSES = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, FovealError)]
REQUEST_ERRORS = [each for each in CLASSES if issubclass(each, RequestError) and each is not RequestError]


def messages() -> Iterator[str]:
    """Each text in the code, with `...` for what differs."""
    for file in (ROOT / "src" / "foveal").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)


@pytest.mark.parametrize("kind", REQUEST_ERRORS, ids=[kind.__name__ for kind in REQUEST_ERRORS])
def test_each_kind_of_error_has_a_section_by_its_status_and_code(kind: type[RequestError]) -> None:
    error = kind.__new__(kind)  # their arguments differ
    RequestError.__init__(error, "message")
    body = OPENAI.error_body(error)
    assert isinstance(body, dict)
    assert f"## {kind.status} `{body['error']['code']}`" in PAGE


def test_the_errors_of_operators_are_named() -> None:
    for kind in CLASSES:
        if kind is not FovealError and not issubclass(kind, RequestError):
            assert kind.__name__ in PAGE


def test_quoted_messages_are_those_of_the_code() -> None:
    there = set(messages())
    assert len(QUOTED) > 20
    assert [quoted for quoted in QUOTED if not any(quoted in message for message in there)] == []
