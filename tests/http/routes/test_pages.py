"""The pages for people: what they are made of, and what they may do. tests/page/ opens them in a browser."""

from __future__ import annotations

import re

import pytest

from foveal.config import HttpConfig
from foveal.http.routes.pages import FOLDER, MEDIA_TYPES, SWAGGER_UI_FILES
from tests.http.client import call

FOLDERS = ("playground", "reference", "shared", "status")
FILES = sorted(f"{folder}/{file.name}" for folder in FOLDERS for file in (FOLDER / folder).iterdir() if file.is_file())
PAGES = ("/", "/docs", "/status")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_no_key(path: str) -> None:
    page = call("GET", path, config=HttpConfig(api_keys=("sk-secret",)))
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize("name", FILES)
def test_each_file_of_a_page_comes_as_its_kind_and_once(name: str) -> None:
    answer = call("GET", f"/pages/{name}")
    assert answer.headers["content-type"].startswith(MEDIA_TYPES[name.rpartition(".")[2]])
    again = call("GET", f"/pages/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (answer.status_code, again.status_code, again.content) == (200, 304, b"")


def test_the_reference_brings_the_files_of_swagger_ui() -> None:
    sizes = {name: len(call("GET", f"/pages/reference/{name}").content) for name in SWAGGER_UI_FILES}
    assert sizes["swagger-ui-bundle.js"] > 1_000_000
    assert sizes["swagger-ui.css"] > 100_000


@pytest.mark.parametrize("name", ["", "nothing.js", "..%2Fconfig.py", "%2e%2e/config.py", "index.html%0a"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_there_is_nothing_else_beside_a_page(folder: str, name: str) -> None:
    assert call("GET", f"/pages/{folder}/{name}").status_code == 404


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (HttpConfig(), [200, 200, 200, 200, 200]),
        (HttpConfig(playground=False), [404, 404, 200, 200, 200]),
        (HttpConfig(status_page=False), [200, 200, 404, 404, 404]),
    ],
)
def test_each_page_can_be_off(config: HttpConfig, found: list[int]) -> None:
    paths = ("/", "/pages/playground/main.js", "/status", "/pages/status/main.js", "/status/failures")
    assert [call("GET", path, config=config).status_code for path in paths] == found


@pytest.mark.parametrize("path", PAGES)
def test_no_script_but_a_pages_own_files_may_run_and_nothing_comes_from_elsewhere(path: str) -> None:
    policy = call("GET", path).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".html", ".js", ".css"))])
def test_a_page_has_no_inline_handlers_styles_or_scripts_and_names_no_other_host(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|innerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    if name.endswith(".html"):
        assert not re.search(r"\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)|javascript:", text)
