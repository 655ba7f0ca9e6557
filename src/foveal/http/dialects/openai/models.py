"""GET models: which models are served, and under which names.

In OpenAI's list, or in Anthropic's for its clients; and in Fireworks' accounts API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NotRequired

from typing_extensions import TypedDict

from foveal.accounting.prices import cost_nano, has_prices, in_currency
from foveal.http.dialects.anthropic.models import ModelInfo, ModelInfoList, is_asked, model_info, model_info_list
from foveal.http.endpoint import Docs, Endpoint
from foveal.http.responses import json_response
from foveal.serving.served import account_names

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.config import PriceConfig
    from foveal.http.endpoint import Answering, Context
    from foveal.serving.pipeline import ModelCard


class Pricing(TypedDict):
    """Of a million tokens."""

    currency: str
    prompt: float  # images included
    cached_prompt: float
    completion: float


class ModelItem(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kind: str
    supports_chat: bool
    supports_image_input: bool
    supports_tools: bool
    context_length: int
    family: str
    weights: str  # their format in the files, and how they are served
    pricing: NotRequired[Pricing]  # if prices are configured


class ModelList(TypedDict):
    object: Literal["list"]
    data: list[ModelItem]


class AccountModel(TypedDict):
    """A model as the accounts API lists it; its fields are written in that API's style."""

    name: str
    displayName: str
    state: Literal["READY"]
    kind: str
    contextLength: int
    supportsImageInput: bool
    supportsTools: bool


class AccountModelList(TypedDict):
    models: list[AccountModel]
    nextPageToken: str
    totalSize: int


KIND = "HF_BASE_MODEL"
MILLION = 1_000_000


# Each reads the cards again: loading a model completes its card.


async def list_models(request: Request, context: Context) -> ASGIApp:
    """The served models, each once for each of its names."""
    named = [(served.card, name) for served in context.models for name in (served.card.id, *served.card.aliases)]
    if is_asked(request.headers):
        return json_response(model_info_list([model_info(card, name) for card, name in named]))
    models: ModelList = {"object": "list", "data": [_item(card, name) for card, name in named]}
    return json_response(models)


async def get_model(request: Request, context: Context) -> ASGIApp:
    """A served model under one of its names, which may have slashes."""
    name = request.path_params["model"]
    card = context.models.find(name).card
    return json_response(model_info(card, name) if is_asked(request.headers) else _item(card, name))


async def list_account_models(request: Request, context: Context) -> ASGIApp:
    """The served models as `accounts/{account}/models/{name}`; every account has them."""
    account = request.path_params["account"]
    cards = [served.card for served in context.models]
    items = [_account_item(card, name) for card in cards for name in account_names(card, account)]
    models: AccountModelList = {"models": items, "nextPageToken": "", "totalSize": len(items)}
    return json_response(models)


async def get_account_model(request: Request, context: Context) -> ASGIApp:
    name = "accounts/{account}/models/{model}".format_map(request.path_params)
    return json_response(_account_item(context.models.find(name).card, name))


def _endpoint(path: str, answer: Answering, reply: object, *errors: int) -> Endpoint:
    return Endpoint(path, answer, docs=Docs("models", {"application/json": reply}, errors=errors))


ENDPOINTS = (
    _endpoint("/models", list_models, ModelList | ModelInfoList, 401),
    _endpoint("/models/{model:path}", get_model, ModelItem | ModelInfo, 401, 404),
    _endpoint("/accounts/{account}/models", list_account_models, AccountModelList, 401),
    _endpoint("/accounts/{account}/models/{model}", get_account_model, AccountModel, 401, 404),
)


def _item(card: ModelCard, name: str) -> ModelItem:
    item: ModelItem = {
        "id": name,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "kind": KIND,
        "supports_chat": True,
        "supports_image_input": card.supports_image_input,
        "supports_tools": card.supports_tools,
        "context_length": card.context_length,
        "family": card.family,
        "weights": card.weights,
    }
    if has_prices(card.prices):
        item["pricing"] = _pricing(card.prices)
    return item


def _pricing(prices: PriceConfig) -> Pricing:
    return {
        "currency": prices.currency,
        "prompt": in_currency(cost_nano(prices, MILLION)),
        "cached_prompt": in_currency(cost_nano(prices, MILLION, cached_tokens=MILLION)),
        "completion": in_currency(cost_nano(prices, 0, MILLION)),
    }


def _account_item(card: ModelCard, name: str) -> AccountModel:
    return {
        "name": name,
        "displayName": card.id,
        "state": "READY",
        "kind": KIND,
        "contextLength": card.context_length,
        "supportsImageInput": card.supports_image_input,
        "supportsTools": card.supports_tools,
    }
