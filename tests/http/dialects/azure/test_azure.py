"""Azure's paths and key header, in front of OpenAI's endpoints."""

from __future__ import annotations

import pytest

from foveal.config import HttpConfig
from tests.fakes import FakePipeline
from tests.http.client import ASK, COMPLETE, call, error

KEYS = HttpConfig(api_keys=("secret",))
CHAT = "/openai/deployments/foveal-mini/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize("fields", [{}, {"model": "gpt-4o"}, {"model": None}])
def test_the_deployment_is_the_model_whatever_the_body_says(fields: dict[str, object]) -> None:
    body = {name: value for name, value in ASK.items() if name != "model"} | fields
    response = call("POST", CHAT, json=body)
    assert response.status_code == 200
    assert response.json()["model"] == "foveal-mini"


def test_a_deployment_that_is_not_there() -> None:
    response = call("POST", CHAT.replace("foveal-mini", "other"), json=ASK)
    assert (response.status_code, error(response)["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/openai/deployments/foveal-mini/completions", COMPLETE),
        ("/openai/v1/chat/completions", ASK),
        ("/openai/v1/responses", {"model": "foveal-mini", "input": "Hi"}),
    ],
)
def test_other_paths(path: str, body: dict[str, object]) -> None:
    assert call("POST", path, json=body).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"), [({"api-key": "secret"}, 200), ({"authorization": "Bearer secret"}, 200), ({}, 401)]
)
def test_the_key_comes_in_either_header(headers: dict[str, str], status: int) -> None:
    assert call("POST", CHAT, FakePipeline(), KEYS, json=ASK, headers=headers).status_code == status


def test_the_document_asks_for_no_model_beside_the_path() -> None:
    paths = call("GET", "/openapi.json").json()["paths"]

    (body,) = paths["/openai/deployments/{model}/chat/completions"]["post"]["requestBody"]["content"].values()

    assert body["schema"]["required"] == ["messages"]
    assert "model" not in body["example"]
