"""Which names the served model answers to, and how it is listed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foveal.accounting.accounting import Accounting
from foveal.config import HttpConfig, PriceConfig
from tests.fakes import CARD, FakePipeline
from tests.http.client import app_for, call, error, send

QWEN = FakePipeline(card=replace(CARD, id="Qwen/Qwen2.5-VL-3B-Instruct", aliases=(), supports_tools=True))


def test_the_list_has_an_item_for_each_name() -> None:
    body = call("GET", "/v1/models").json()
    assert body["object"] == "list"
    assert [item["id"] for item in body["data"]] == ["foveal-mini", "accounts/me/models/eyes"]
    assert body["data"][0] == {
        "id": "foveal-mini",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "foveal",
        "kind": "HF_BASE_MODEL",
        "supports_chat": True,
        "supports_image_input": True,
        "supports_tools": False,
        "context_length": 1024,
        "family": "phi3_v",
        "weights": "bfloat16, served as int8",
    }


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "accounts/fireworks/models/qwen2p5-vl-3b-instruct",
        "accounts/anyone/models/qwen2p5-vl-3b-instruct",
    ],
)
def test_a_model_is_found_by_its_names(name: str) -> None:
    assert call("GET", f"/v1/models/{name}", QWEN).json()["id"] == name


@pytest.mark.parametrize(
    "name", ["qwen2p5-vl-3b-instruct", "accounts/a/b/models/qwen2p5-vl-3b-instruct", "accounts/a/models/other", "x"]
)
def test_other_names_are_not_found(name: str) -> None:
    response = call("GET", f"/v1/models/{name}", QWEN)
    assert (response.status_code, error(response)["code"]) == (404, "NOT_FOUND")


def test_an_account_lists_the_model_under_its_own_name_and_aliases() -> None:
    body = call("GET", "/v1/accounts/me/models").json()
    assert [model["name"] for model in body["models"]] == ["accounts/me/models/foveal-mini", "accounts/me/models/eyes"]
    assert body["totalSize"] == 2
    assert call("GET", "/v1/accounts/fireworks/models", QWEN).json()["models"] == [
        {
            "name": "accounts/fireworks/models/qwen2p5-vl-3b-instruct",
            "displayName": "Qwen/Qwen2.5-VL-3B-Instruct",
            "state": "READY",
            "kind": "HF_BASE_MODEL",
            "contextLength": 1024,
            "supportsImageInput": True,
            "supportsTools": True,
        }
    ]


def test_an_accounts_model_is_found_and_others_are_not() -> None:
    assert call("GET", "/v1/accounts/me/models/eyes").json()["name"] == "accounts/me/models/eyes"
    assert call("GET", "/v1/accounts/me/models/ears").status_code == 404


def test_the_context_length_is_that_of_the_moment() -> None:
    pipeline = FakePipeline()
    app = app_for(pipeline, HttpConfig(), Accounting())
    pipeline.card = replace(CARD, context_length=512)
    (item, _) = send(app, "GET", "/v1/models").json()["data"]
    assert item["context_length"] == 512


def test_prices_of_a_million_tokens_are_told_if_there_are_any() -> None:
    pipeline = FakePipeline(card=replace(CARD, prices=PriceConfig(prompt=0.2, completion=0.6, currency="EUR")))
    (item, _) = call("GET", "/v1/models", pipeline).json()["data"]
    assert item["pricing"] == {"currency": "EUR", "prompt": 0.2, "cached_prompt": 0.2, "completion": 0.6}
