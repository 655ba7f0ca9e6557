"""The list of models, for clients of the Messages API."""

from __future__ import annotations

from tests.http.client import call

VERSION = {"anthropic-version": "2023-06-01"}
ITEM = {
    "type": "model",
    "id": "foveal-mini",
    "display_name": "foveal-mini",
    "created_at": "2023-11-14T22:13:20Z",
    "max_input_tokens": 1024,
}
ALIAS = "accounts/me/models/eyes"


def test_a_client_that_sends_a_version_gets_anthropics_list() -> None:
    assert call("GET", "/v1/models", headers=VERSION).json() == {
        "data": [ITEM, ITEM | {"id": ALIAS}],
        "first_id": "foveal-mini",
        "last_id": ALIAS,
        "has_more": False,
    }


def test_a_client_that_sends_a_version_gets_anthropics_model() -> None:
    assert call("GET", f"/v1/models/{ALIAS}", headers=VERSION).json() == ITEM | {"id": ALIAS}


def test_other_clients_get_openais() -> None:
    assert call("GET", "/v1/models").json()["object"] == "list"
