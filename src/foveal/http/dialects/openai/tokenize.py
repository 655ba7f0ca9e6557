"""POST tokenize: what a request takes and costs, without running it."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, NotRequired

from typing_extensions import TypedDict

from foveal.accounting.prices import cost_nano, has_prices, in_currency
from foveal.http.dialects.openai.chat import EXAMPLE
from foveal.http.dialects.openai.parse import chat_request, completion_requests
from foveal.http.dialects.openai.schemas import ChatBody, TokenizeBody
from foveal.http.endpoint import Docs, Endpoint
from foveal.http.responses import json_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.config import HttpConfig, PriceConfig
    from foveal.http.dialects.openai.schemas import CompletionBody
    from foveal.http.endpoint import Context
    from foveal.serving.pipeline import Measurement, ModelCard
    from foveal.types import ChatRequest, CompletionRequest, CropGrid, PromptImage


class Crops(TypedDict):
    """The crops as a grid over the image: a box in its pixels, which reaches beyond it where the model pads."""

    rows: int
    columns: int
    left: float
    top: float
    right: float
    bottom: float


class MeasuredImage(TypedDict):
    position: int  # among the request's images, from 1
    width: int  # pixels of the upright image
    height: int
    tokens: int
    crops: int
    grid: Crops | None  # null: the model's family does not tell
    price: float | None  # its share of the prompt's price


class Price(TypedDict):
    currency: str
    prompt: float  # without cached tokens
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


async def tokenize(request: Request, context: Context) -> ASGIApp:
    """Measure a chat or completion body: images are loaded and the prompt is made, but nothing is generated.

    `return_token_ids` adds the prompts' token ids.
    """
    body = (await context.bodies.read(request, TokenizeBody)).root
    served = context.models.find_ready(body.model)
    requests = [replace(asked, caller=request.state.caller) for asked in _requests(body, served.card, context.config)]
    measured = await served.measure(requests)
    reply = _tokenization(body.model, requests, measured, served.card.prices)
    if body.return_token_ids:
        reply["token_ids"] = [list(measurement.prompt.token_ids) for measurement in measured]
    return json_response(reply)


ENDPOINT = Endpoint(
    "/tokenize",
    tokenize,
    methods=("POST",),
    docs=Docs(
        tag="generation",
        description="Counts, and the price if prices are configured.",
        content={"application/json": Tokenization},
        errors=(400, 401, 402, 404, 413, 429, 503),
        body=TokenizeBody,
        example=EXAMPLE,
    ),
)


def _requests(
    body: ChatBody | CompletionBody, card: ModelCard, config: HttpConfig
) -> Sequence[ChatRequest | CompletionRequest]:
    seed = secrets.randbits(63)
    if isinstance(body, ChatBody):
        return [chat_request(body, card, config, seed)]
    return completion_requests(body, card, config, seed)


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
        "grid": None if layout.crops is None else _crops(layout.crops),
        "price": in_currency(cost_nano(prices, image.num_prompt_tokens)) if has_prices(prices) else None,
    }


def _crops(grid: CropGrid) -> Crops:
    return {
        "rows": grid.rows,
        "columns": grid.columns,
        "left": grid.left,
        "top": grid.top,
        "right": grid.right,
        "bottom": grid.bottom,
    }


def _price(num_prompt_tokens: int, num_completion_tokens: int, prices: PriceConfig) -> Price | None:
    if not has_prices(prices):
        return None
    return {
        "currency": prices.currency,
        "prompt": in_currency(cost_nano(prices, num_prompt_tokens)),
        "completion_at_most": in_currency(cost_nano(prices, 0, num_completion_tokens)),
    }
