"""A browser for the whole session, a fresh page for each test, and a server that answers as the test says."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.http.server import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from playwright.sync_api import Browser, ConsoleMessage, Page

    from foveal.config import HttpConfig
    from tests.fakes import FakePipeline

    Opening = Callable[..., AbstractContextManager[Page]]

DESK = {"width": 1180, "height": 800}
PATIENCE_MS = 60_000  # for a busy machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/page/" in item.nodeid:
            item.add_marker("page")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless=new", "--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def open_at(browser: Browser) -> Opening:
    """Opens a server's page. What the page asks of other hosts, or prints as an error, fails the test."""

    @contextmanager
    def opened(url: str, **settings: object) -> Iterator[Page]:
        page = browser.new_page(**({"viewport": DESK} | settings))
        page.set_default_timeout(PATIENCE_MS)
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.extend(_complaint(message)))
        page.goto(url)
        try:
            yield page
        finally:
            page.close()
        assert complaints == []
        assert {urlsplit(each).netloc for each in asked if not each.startswith(("blob:", "data:"))} == {
            urlsplit(url).netloc
        }

    return opened


@pytest.fixture
def page_of(open_at: Opening) -> Callable[..., AbstractContextManager[Page]]:
    """Opens the page of a fake pipeline, once its models are listed."""

    @contextmanager
    def opened(pipeline: FakePipeline, config: HttpConfig | None = None, **settings: object) -> Iterator[Page]:
        with serving(pipeline, config) as server, open_at(server.url, **settings) as page:
            if not (config and config.api_keys):
                page.wait_for_selector("#model option", state="attached")
            yield page

    return opened


def _complaint(message: ConsoleMessage) -> list[str]:
    """What the browser itself says of a refused request is no complaint: the page shows it to people."""
    is_refusal = message.text.startswith("Failed to load resource")
    return [message.text] if message.type == "error" and not is_refusal else []
