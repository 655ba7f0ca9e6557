"""The page with foveal-mini behind it, as a person meets it. What is seen here is what the documentation shows."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.contract.serve import KEY, MODEL, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page

    Opening = Callable[..., AbstractContextManager[Page]]

IMAGES = Path("docs/images")
AS_OPERATOR = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    prices = {"FOVEAL_PRICES_PROMPT": "0.2", "FOVEAL_PRICES_COMPLETION": "0.6"}
    with serving(tmp_path_factory.mktemp("page") / "log.txt", **prices) as served:
        yield served.url


def test_foveal_mini_answers_on_the_page(url: str, open_at: Opening) -> None:
    with open_at(url, viewport={"width": 1180, "height": 760}) as page:
        give_key(page)
        page.get_by_role("button", name="Or begin with this one").click()
        page.wait_for_selector("#pictures small:has-text('token')")
        page.screenshot(path=IMAGES / "playground-question.png")
        page.press("#text", "Enter")
        said = page.locator(".turn.assistant:not(.busy) .said")
        said.wait_for()
        assert "circle" in said.inner_text()
        assert "square" in said.inner_text()
        page.fill("#text", "What colour is the circle?")
        page.press("#text", "Enter")
        page.wait_for_selector(".turn:nth-child(4):not(.busy) .facts")
        assert "red" in page.inner_text(".turn:nth-child(4) .said").lower()
        page.locator(".turn:nth-child(4)").get_by_role("button", name="Tokens").click()
        page.hover(".token:nth-child(2)")
        page.screenshot(path=IMAGES / "playground.png")


def test_a_schema_holds_the_answer(url: str, open_at: Opening) -> None:
    schema = '{"type": "object", "properties": {"shape": {"enum": ["circle", "star"]}}, "required": ["shape"]}'
    with open_at(url) as page:
        give_key(page)
        page.get_by_role("button", name="Or begin with this one").click()
        page.fill("#set-schema", schema)
        page.fill("#text", "Which of the two is red?")
        page.press("#text", "Enter")
        said = page.locator(".turn.assistant:not(.busy) .said")
        said.wait_for()
        assert json.loads(said.inner_text())["shape"] in ("circle", "star")  # which one is the model's affair


def give_key(page: Page) -> None:
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    page.wait_for_selector("#model option", state="attached")


def test_operators_see_what_the_server_does(url: str, open_at: Opening) -> None:
    question = {"messages": [{"role": "user", "content": "Tell me a long story."}], "model": MODEL}
    with ThreadPoolExecutor(4) as clients, open_at(f"{url}/status", viewport={"width": 1180, "height": 900}) as page:
        page.fill("#key", KEY)
        page.press("#key", "Enter")
        for number in range(60):
            body = question | {"max_tokens": 40 * (number % 6 + 1), "ignore_eos": True}
            clients.submit(httpx.post, f"{url}/v1/chat/completions", json=body, headers=AS_OPERATOR, timeout=300)
        httpx.get(f"{url}/v1/models/unknown", headers=AS_OPERATOR)
        page.wait_for_selector("figure:has-text('Tokens a second') .line[d*='L']", state="attached")
        page.wait_for_selector("#failures code")
        page.wait_for_timeout(12_000)  # for a picture that has something to show
        page.screenshot(path=IMAGES / "status.png")
        assert page.inner_text("#models tr > :nth-child(2)") == "ready"
        assert {"server", "engine", "image workers"} <= set(page.locator("#memory th").all_inner_texts())
