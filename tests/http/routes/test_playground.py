"""The page for people: what it is made of, and what it may do. tests/page/ opens it in a browser."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from foveal.config import HttpConfig
from foveal.http.routes.playground import MEDIA_TYPES
from tests.http.client import call

FILES = sorted(file.name for file in (files("foveal") / "playground").iterdir() if file.is_file())


def test_the_page_is_at_the_root_and_needs_no_key() -> None:
    page = call("GET", "/", config=HttpConfig(api_keys=("sk-secret",)))
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize("name", FILES)
def test_each_file_of_the_page_comes_as_its_kind_and_once(name: str) -> None:
    answer = call("GET", f"/playground/{name}")
    assert answer.headers["content-type"].startswith(MEDIA_TYPES[name.rpartition(".")[2]])
    again = call("GET", f"/playground/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (answer.status_code, again.status_code, again.content) == (200, 304, b"")


@pytest.mark.parametrize("name", ["", "nothing.js", "..%2Fconfig.py", "%2e%2e/config.py", "index.html%0a"])
def test_there_is_nothing_else_beside_the_page(name: str) -> None:
    assert call("GET", f"/playground/{name}").status_code == 404


def test_the_page_can_be_off() -> None:
    off = HttpConfig(playground=False)
    assert [call("GET", path, config=off).status_code for path in ("/", "/playground/main.js")] == [404, 404]


def test_no_script_but_the_pages_own_files_may_run_and_nothing_comes_from_elsewhere() -> None:
    policy = call("GET", "/").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy


def test_the_page_has_no_inline_handlers_styles_or_scripts_and_names_no_other_host() -> None:
    for name in FILES:
        if name.endswith((".html", ".js", ".css")):
            text = (files("foveal") / "playground" / name).read_text().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://|innerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
    page = (files("foveal") / "playground" / "index.html").read_text()
    assert not re.search(r"\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)|javascript:", page)
