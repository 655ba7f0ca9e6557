"""POST tokenize: what a request takes and costs, without running it."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, NotRequired

from fastapi import APIRouter, Request, Response
from typing_extensions import TypedDict

from foveal.accounting.prices import cost_nano, has_prices, in_currency
from foveal.http.body import BodyReader, body_docs
from foveal.http.chat import EXAMPLE
from foveal.http.models import check_can_answer
from foveal.http.parse import chat_request, completion_requests
from foveal.http.problems import problem_docs
from foveal.http.replies import to_json
from foveal.http.schemas import ChatBody, TokenizeBody

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.config import HttpConfig, PriceConfig
    from foveal.http.contract import Pipeline
    from foveal.http.schemas import CompletionBody
    from foveal.serving.pipeline import Measurement
    from foveal.types import ChatRequest, CompletionRequest, PromptImage


class MeasuredImage(TypedDict):
    position: int  # among the request's images, from 1
    width: int  # pixels, as people see the picture
    height: int
    tokens: int
    crops: int
    price: float | None  # its share of the prompt's


class Price(TypedDict):
    currency: str
    prompt: float  # if nothing of it is found in the cache
    completion_at_most: float  # if every choice is as long as it may be


class Tokenization(TypedDict):
    """The counts are those that the answer's usage would have. Several prompts are summed up."""

    model: str
    prompt_tokens: int
    image_tokens: int
    text_tokens: int
    max_completion_tokens: int  # of all choices
    images: list[MeasuredImage]
    price: Price | None
    token_ids: NotRequired[list[list[int]]]  # of each prompt


def tokenize_routes(pipeline: Pipeline, config: HttpConfig, bodies: BodyReader) -> APIRouter:
    router = APIRouter(tags=["generation"])
    reply = {"schema": {"$ref": f"#/components/schemas/{Tokenization.__name__}"}}

    @router.post(
        "/tokenize",
        response_class=Response,
        responses={
            200: {
                "description": "Counts, and the price if prices are configured.",
                "content": {"application/json": reply},
            },
            **problem_docs(400, 401, 402, 404, 413, 429, 503),
        },
        openapi_extra=body_docs(TokenizeBody, EXAMPLE),
    )
    async def tokenize(request: Request) -> Response:
        """Measure a chat or completion body: images are loaded and the prompt is made, but nothing is generated.

        `return_token_ids` adds the prompts' token ids.
        """
        body = (await bodies.read(request, TokenizeBody)).root
        check_can_answer(pipeline, body.model)
        requests = _requests(body, pipeline, config)
        caller = request.state.caller
        measured = await pipeline.measure([replace(asked, caller=caller) for asked in requests])
        reply = _tokenization(body.model, requests, measured, pipeline.card.prices)
        if body.return_token_ids:
            reply["token_ids"] = [list(measurement.prompt.token_ids) for measurement in measured]
        return Response(to_json(reply), media_type="application/json")

    return router


def _requests(
    body: ChatBody | CompletionBody, pipeline: Pipeline, config: HttpConfig
) -> Sequence[ChatRequest | CompletionRequest]:
    seed = secrets.randbits(63)
    if isinstance(body, ChatBody):
        return [chat_request(body, pipeline.card, config, seed)]
    return completion_requests(body, pipeline.card, config, seed)


def _tokenization(
    model: str,
    requests: Sequence[ChatRequest | CompletionRequest],
    measured: Sequence[Measurement],
    prices: PriceConfig,
) -> Tokenization:
    prompts = [measurement.prompt for measurement in measured]
    num_prompt_tokens = sum(len(prompt.token_ids) for prompt in prompts)
    num_completion_tokens = sum(
        measurement.max_tokens * request.options.num_choices
        for request, measurement in zip(requests, measured, strict=True)
    )
    images = [image for prompt in prompts for image in prompt.images]
    return {
        "model": model,
        "prompt_tokens": num_prompt_tokens,
        "image_tokens": sum(prompt.num_image_tokens for prompt in prompts),
        "text_tokens": sum(prompt.num_text_tokens for prompt in prompts),
        "max_completion_tokens": num_completion_tokens,
        "images": [_measured_image(image, position, prices) for position, image in enumerate(images, 1)],
        "price": _price(num_prompt_tokens, num_completion_tokens, prices),
    }


def _measured_image(image: PromptImage, position: int, prices: PriceConfig) -> MeasuredImage:
    layout = image.image.layout
    return {
        "position": position,
        "width": layout.size.width,
        "height": layout.size.height,
        "tokens": layout.num_tokens,
        "crops": layout.num_crops,
        "price": in_currency(cost_nano(prices, image.num_prompt_tokens)) if has_prices(prices) else None,
    }


def _price(num_prompt_tokens: int, num_completion_tokens: int, prices: PriceConfig) -> Price | None:
    if not has_prices(prices):
        return None
    return {
        "currency": prices.currency,
        "prompt": in_currency(cost_nano(prices, num_prompt_tokens)),
        "completion_at_most": in_currency(cost_nano(prices, 0, num_completion_tokens)),
    }
