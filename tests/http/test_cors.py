"""Web pages of other origins: refused by default, admitted by name."""

from __future__ import annotations

import pytest

from foveal.config import HttpConfig
from tests.http.client import ASK, call

PAGE = "https://app.example"
CHAT = "/v1/chat/completions"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


def test_no_page_is_admitted_by_default() -> None:
    preflight = call("OPTIONS", CHAT, headers=PREFLIGHT)
    assert preflight.status_code == 405
    answer = call("POST", CHAT, json=ASK, headers={"origin": PAGE})
    assert not [name for name in (*preflight.headers, *answer.headers) if name.startswith("access-control")]


@pytest.mark.parametrize("origins", [(PAGE,), ("https://other.example", PAGE), ("*",)])
def test_an_admitted_page_may_ask_and_read_the_answer(origins: tuple[str, ...]) -> None:
    config = HttpConfig(cors_origins=origins, api_keys=("key",))
    preflight = call("OPTIONS", CHAT, config=config, headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] in (PAGE, "*")
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    for key, status in (("key", 200), ("wrong", 401)):
        answer = call("POST", CHAT, config=config, json=ASK, headers={"origin": PAGE, "authorization": f"Bearer {key}"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"] in (PAGE, "*")) == (status, True)


def test_another_page_is_not_admitted() -> None:
    config = HttpConfig(cors_origins=(PAGE,))
    assert (
        call("OPTIONS", CHAT, config=config, headers=PREFLIGHT | {"origin": "https://evil.example"}).status_code == 400
    )
