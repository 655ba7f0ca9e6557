"""Tokenize on the wire: what a request takes and costs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from foveal.config import PriceConfig
from foveal.errors import ImageError
from foveal.serving.pipeline import Measurement
from foveal.types import (
    ChatRequest,
    CompletionRequest,
    Image,
    ImageLayout,
    ImageSpan,
    PixelRef,
    Prompt,
    PromptImage,
    Size,
)
from tests.fakes import CARD, FakePipeline
from tests.http.client import ASK, COMPLETE, call, error

if TYPE_CHECKING:
    import httpx


def tokenize(pipeline: FakePipeline | None = None, **body: Any) -> httpx.Response:
    return call("POST", "/v1/tokenize", pipeline, json=body)


def prompt_with_an_image() -> Prompt:
    """Ten tokens, seven of them an image's, which is 30 tokens to the model."""
    layout = ImageLayout(Size(640, 480), (1,), (), num_crops=3, num_tokens=30)
    image = PromptImage(Image(b"hash", PixelRef(0, (1,)), layout), (ImageSpan(1, 5),), num_prompt_tokens=7)
    return Prompt(tuple(range(10)), (image,))


def test_tokens_images_and_the_longest_answer_are_counted_and_nothing_runs() -> None:
    pipeline = FakePipeline(measurement=Measurement(prompt_with_an_image(), max_tokens=5))
    assert tokenize(pipeline, **ASK, n=2).json() == {
        "model": "foveal-mini",
        "prompt_tokens": 10,
        "image_tokens": 30,
        "text_tokens": 3,
        "max_completion_tokens": 10,
        "images": [{"position": 1, "width": 640, "height": 480, "tokens": 30, "crops": 3, "grid": None, "price": None}],
        "price": None,
    }
    assert pipeline.num_running == 0


def test_several_prompts_are_summed_up_and_their_images_numbered_on() -> None:
    pipeline = FakePipeline(measurement=Measurement(prompt_with_an_image(), max_tokens=5))
    found = tokenize(pipeline, model="foveal-mini", prompt=["a", "b"], return_token_ids=True).json()
    assert (found["prompt_tokens"], found["max_completion_tokens"]) == (20, 10)
    assert [image["position"] for image in found["images"]] == [1, 2]
    assert found["token_ids"] == [list(range(10))] * 2


def test_the_price_is_by_the_million() -> None:
    card = replace(CARD, prices=PriceConfig(prompt=2.0, completion=8.0, currency="EUR"))
    found = tokenize(FakePipeline(card=card), **COMPLETE).json()
    assert found["price"] == {"currency": "EUR", "prompt": 6e-6, "completion_at_most": 40e-6}


def test_an_images_price_is_that_of_its_tokens_in_the_prompt() -> None:
    card = replace(CARD, prices=PriceConfig(prompt=2.0, completion=8.0))
    pipeline = FakePipeline(card=card, measurement=Measurement(prompt_with_an_image(), max_tokens=5))
    assert tokenize(pipeline, **ASK).json()["images"][0]["price"] == 14e-6


def test_with_one_price_alone_the_rest_is_free() -> None:
    card = replace(CARD, prices=PriceConfig(completion=8.0))
    found = tokenize(FakePipeline(card=card), **COMPLETE).json()
    assert found["price"] == {"currency": "USD", "prompt": 0.0, "completion_at_most": 40e-6}


@pytest.mark.parametrize(("body", "kind"), [(ASK, ChatRequest), (COMPLETE, CompletionRequest)])
def test_either_body_is_measured_as_its_endpoint_would_take_it(body: dict[str, Any], kind: type) -> None:
    pipeline = FakePipeline()
    assert tokenize(pipeline, **body).status_code == 200
    assert isinstance(pipeline.requests[0], kind)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "foveal-mini"}, "messages"),
        (ASK | {"frobnicate": 1}, "frobnicate"),
        (COMPLETE | {"n": 0}, "n"),
        (COMPLETE | {"model": "other"}, "model"),
    ],
)
def test_what_the_endpoint_would_refuse_is_refused(body: dict[str, Any], param: str) -> None:
    assert error(tokenize(**body))["param"] == param


def test_a_picture_that_cannot_be_measured_is_named() -> None:
    response = tokenize(FakePipeline(refusal=ImageError(2, "it is no picture")), **ASK)
    assert (response.status_code, error(response)["message"]) == (400, "image 2: it is no picture")
