"""The API's reference at /docs, in a real browser."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from foveal.config import HttpConfig
from foveal.types import Delta
from tests.fakes import FakePipeline
from tests.http.server import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Locator, Page

    Opening = Callable[..., AbstractContextManager[Page]]

ANSWER = (Delta(0, "A red square."), Delta(0, finish_reason="stop"))


def operation(page: Page, path: str) -> Locator:
    """Opened."""
    block = page.locator(f".opblock:has([data-path='{path}'])")
    block.locator(".opblock-summary-control").click()
    return block


def test_a_request_is_tried_and_told_as_code(open_at: Opening) -> None:
    pipeline = FakePipeline(ANSWER)
    with serving(pipeline) as server, open_at(f"{server.url}/docs") as page:
        chat = operation(page, "/v1/chat/completions")
        chat.get_by_role("button", name="Execute").click()
        replied = chat.locator(".live-responses-table .highlight-code .language-json").first
        assert json.loads(replied.inner_text())["choices"][0]["message"]["content"] == "A red square."
        for language, word in (("curl", "curl -X"), ("Python", "urlopen"), ("JavaScript", "await fetch")):
            chat.locator(".request-snippets .btn").get_by_text(language, exact=True).click()
            assert word in chat.locator(".request-snippets .curl").inner_text()
        chat.locator(".request-snippets .btn").get_by_text("Python", exact=True).click()
        program = chat.locator(".request-snippets .curl").inner_text()
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert json.loads(ran.stdout)["choices"][0]["message"]["content"] == "A red square."
    assert len(pipeline.answered) == 2


def test_with_keys_a_request_is_tried_with_the_key_that_is_given(open_at: Opening) -> None:
    with (
        serving(FakePipeline(ANSWER), HttpConfig(api_keys=("sk-right",))) as server,
        open_at(f"{server.url}/docs") as page,
    ):
        page.locator(".auth-wrapper .authorize").first.click()
        bearer = page.locator(".auth-container", has_text="bearer").first
        bearer.locator("input").fill("sk-right")
        bearer.get_by_role("button", name="Apply credentials").click()
        page.locator(".btn-done").first.click()
        models = operation(page, "/v1/models")
        models.get_by_role("button", name="Execute").click()
        assert models.locator(".live-responses-table .response-col_status").last.inner_text().startswith("200")
        stored = page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie]")
        assert "sk-right" not in str(stored)


@pytest.mark.parametrize("width", [400, 1180])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_and_follows_the_theme(open_at: Opening, theme: str, width: int) -> None:
    settings = {"viewport": {"width": width, "height": 800}, "color_scheme": theme}
    with serving(FakePipeline()) as server, open_at(f"{server.url}/docs", **settings) as page:
        operation(page, "/v1/chat/completions")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.documentElement.classList.contains('dark-mode')") == (theme == "dark")
