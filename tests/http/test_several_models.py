"""Two models in one application: each is asked by its own names, and listed, measured and priced for itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from foveal.accounting.accounting import Accounting
from foveal.config import HttpConfig, PriceConfig
from foveal.http.app import create_app
from foveal.serving.served import ServedModels
from foveal.types import Delta
from tests.fakes import CARD, FakePipeline
from tests.http.client import ASK, COMPLETE, error, send

BIG = replace(CARD, id="org/Big-2.5", aliases=("big",), context_length=4096, prices=PriceConfig(prompt=8.0))


def two(**of_big: Any) -> tuple[ServedModels, FakePipeline, FakePipeline]:
    mini = FakePipeline(card=replace(CARD, prices=PriceConfig(prompt=2.0)))
    big = FakePipeline([Delta(0, "I am big", finish_reason="stop")], card=BIG, **of_big)
    return ServedModels([mini, big]), mini, big


def ask(models: ServedModels, method: str, path: str, **request: Any) -> Any:
    return send(create_app(models, HttpConfig(), Accounting()), method, path, **request)


@pytest.mark.parametrize("name", ["org/Big-2.5", "big", "accounts/anyone/models/big-2p5"])
def test_a_request_goes_to_the_model_that_it_names(name: str) -> None:
    models, mini, big = two()
    answer = ask(models, "POST", "/v1/chat/completions", json=ASK | {"model": name}).json()
    assert (answer["choices"][0]["message"]["content"], answer["model"]) == ("I am big", name)
    assert ask(models, "POST", "/v1/completions", json=COMPLETE).json()["choices"][0]["text"] == "Hello"
    assert (len(mini.requests), len(big.requests)) == (1, 1)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/tokenize"])
def test_a_name_of_neither_is_not_found(path: str) -> None:
    response = ask(two()[0], "POST", path, json=ASK | {"model": "Big-2.5"})
    assert (response.status_code, error(response)["param"]) == (404, "model")


def test_both_are_listed_under_all_names() -> None:
    models = two()[0]
    items = ask(models, "GET", "/v1/models").json()["data"]
    assert [(item["id"], item["context_length"]) for item in items] == [
        ("foveal-mini", 1024),
        ("accounts/me/models/eyes", 1024),
        ("org/Big-2.5", 4096),
        ("big", 4096),
    ]
    of_account = ask(models, "GET", "/v1/accounts/me/models").json()
    names = ["foveal-mini", "eyes", "big-2p5"]
    assert [model["name"] for model in of_account["models"]] == [f"accounts/me/models/{name}" for name in names]
    assert of_account["totalSize"] == 3
    assert ask(models, "GET", "/v1/models/org/Big-2.5").json()["context_length"] == 4096


@pytest.mark.parametrize(("name", "price"), [("foveal-mini", 6e-6), ("big", 24e-6)])
def test_each_is_measured_with_its_own_prices(name: str, price: float) -> None:
    measured = ask(two()[0], "POST", "/v1/tokenize", json=ASK | {"model": name}).json()
    assert (measured["model"], measured["price"]["prompt"]) == (name, price)


def test_one_that_loads_keeps_the_server_unready_and_the_other_answering() -> None:
    models = two(is_ready=False)[0]
    assert ask(models, "GET", "/readyz").status_code == 503
    assert ask(models, "POST", "/v1/chat/completions", json=ASK).status_code == 200
    assert ask(models, "POST", "/v1/chat/completions", json=ASK | {"model": "big"}).status_code == 503


def test_metrics_of_each_have_its_name() -> None:
    text = ask(two()[0], "GET", "/metrics").text
    assert 'foveal_images_total{model="foveal-mini"} 0.0' in text
    assert 'foveal_images_total{model="org/Big-2.5"} 0.0' in text
    assert "foveal_prompt_tokens_total 0.0" in text


def test_models_come_and_go_while_the_server_runs() -> None:
    models, _, big = two()
    app = create_app(models, HttpConfig(), Accounting())
    models.remove(big)
    assert send(app, "GET", "/v1/models/big").status_code == 404
    models.add(big)
    assert send(app, "GET", "/v1/models/big").status_code == 200
