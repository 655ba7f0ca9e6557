"""docs/fields.md says what the schemas say, and the examples of the OpenAPI document are answered."""

from __future__ import annotations

import pytest

from tests.http.client import call
from tests.http.fields_page import PAGE, examples, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "write it anew: python -m tests.http.fields_page"


@pytest.mark.parametrize(("path", "body"), [pytest.param(path, body, id=path) for path, body in examples()])
def test_an_example_is_answered(path: str, body: object) -> None:
    assert call("POST", path, json=body).status_code == 200
