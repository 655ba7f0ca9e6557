"""What operators see on the page at /status, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from foveal.config import HttpConfig
from foveal.errors import GenerationFailed
from foveal.types import Delta, EngineInfo, EngineStats
from tests.fakes import FakePipeline
from tests.http.client import ASK
from tests.http.server import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page

    Opening = Callable[..., AbstractContextManager[Page]]

KEY = "sk-operator"


class BusyEngine:
    """An engine that only tells how it is; it generates a token whenever it is asked."""

    info = EngineInfo("m", "cpu", "float32", 10, 10, 16, num_blocks=200, kv_cache_bytes=1)
    stats = EngineStats(num_running=3, num_waiting=2, num_used_blocks=50, num_idle_blocks=100)
    num_restarts = 4
    is_ready = True

    def __init__(self) -> None:
        self.num_tokens = 0

    def __getattribute__(self, name: str) -> object:
        found = super().__getattribute__(name)
        if name == "num_tokens":
            self.num_tokens = found + 1
        return found


def busy() -> FakePipeline:
    return FakePipeline(engine=BusyEngine())  # type: ignore[arg-type]


def plot(page: Page, title: str) -> str:
    return str(page.inner_text(f"figure:has-text('{title}') .number"))


def wait_for_plots(page: Page) -> None:
    """Until there are two points to draw a line between."""
    page.wait_for_selector("figure .line[d*='L']", state="attached")


def test_models_caches_and_rates_are_those_of_the_metrics(open_at: Opening) -> None:
    with serving(busy()) as server, open_at(f"{server.url}/status") as page:
        wait_for_plots(page)
        *cells, num_tokens, num_restarts = page.locator("#models tr > *").all_inner_texts()
        assert cells == ["foveal-mini", "ready", "3", "2", "25 % in use, 50 % kept"]
        assert (int(num_tokens) > 1, num_restarts) == (True, "4")
        gauges = ("Running sequences", "Waiting sequences", "KV cache in use")
        assert [plot(page, title) for title in gauges] == ["3", "2", "25 %"]
        assert float(plot(page, "Tokens a second")) > 0
        assert "server" in page.inner_text("#memory")


def test_a_failed_request_is_told_without_its_content(open_at: Opening) -> None:
    with serving(FakePipeline(refusal=GenerationFailed("it broke"))) as server:
        asked = {"messages": [{"role": "user", "content": "a secret"}]}
        failed = httpx.post(f"{server.url}/v1/chat/completions", json=ASK | asked)
        with open_at(f"{server.url}/status") as page:
            page.wait_for_selector("#failures code")
            told = page.inner_text("#failures")
    assert "500" in told
    assert "/chat/completions" in told
    assert failed.headers["x-request-id"] in told
    assert "secret" not in told


def test_an_operators_key_is_asked_for_and_kept_nowhere(open_at: Opening) -> None:
    with serving(busy(), HttpConfig(api_keys=(KEY,))) as server, open_at(f"{server.url}/status") as page:
        for key in ("sk-wrong", KEY):
            page.wait_for_selector("#key-dialog[open]")
            page.fill("#key", key)
            page.press("#key", "Enter")
        page.wait_for_selector("#models tr")
        stored = page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie]")
        assert KEY not in page.content() + str(stored)


def test_it_can_be_paused(open_at: Opening) -> None:
    with serving(busy()) as server, open_at(f"{server.url}/status") as page:
        page.wait_for_selector("#models tr")
        page.get_by_role("button", name="Pause").click()
        assert page.locator("#pause").get_attribute("aria-pressed") == "true"


def test_a_server_that_ends_is_told_of(open_at: Opening) -> None:
    with serving(FakePipeline((Delta(0, "x"),))) as server, open_at(f"{server.url}/status") as page:
        page.wait_for_selector("#models tr")
        page.route("**/metrics", lambda route: route.abort())
        page.wait_for_selector("#trouble:has-text('The server does not answer')")


@pytest.mark.parametrize("width", [400, 1180])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_accessible_and_fits(open_at: Opening, theme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    settings = {"viewport": {"width": width, "height": 800}, "color_scheme": theme}
    with serving(busy()) as server, open_at(f"{server.url}/status", **settings) as page:
        httpx.get(f"{server.url}/nothing")
        wait_for_plots(page)
        page.wait_for_selector("#failures code")
        problems = Axe().run(page).response["violations"]
        assert [(problem["id"], [node["html"] for node in problem["nodes"]]) for problem in problems] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
