"""GET models: which model is served, and under which names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter
from typing_extensions import TypedDict

from foveal.errors import NotFound
from foveal.http.problems import problem_docs

if TYPE_CHECKING:
    from foveal.http.contract import Pipeline
    from foveal.serving.pipeline import ModelCard


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


def model_routes(pipeline: Pipeline) -> APIRouter:
    router = APIRouter(tags=["models"])  # each asks for the card anew: loading the model completes it

    @router.get("/models", responses=problem_docs(401))
    async def list_models() -> ModelList:
        """The served model, once for each of its names."""
        card = pipeline.card
        return {"object": "list", "data": [_item(card, name) for name in (card.id, *card.aliases)]}

    @router.get("/models/{model:path}", responses=problem_docs(401, 404))
    async def get_model(model: str) -> ModelItem:
        """The served model under one of its names, which may have slashes."""
        check_known(pipeline.card, model)
        return _item(pipeline.card, model)

    @router.get("/accounts/{account}/models", responses=problem_docs(401))
    async def list_account_models(account: str) -> AccountModelList:
        """The served model as `accounts/{account}/models/{name}`; every account has it."""
        card = pipeline.card
        models = [_account_item(card, name) for name in _account_names(card, account)]
        return {"models": models, "nextPageToken": "", "totalSize": len(models)}

    @router.get("/accounts/{account}/models/{model}", responses=problem_docs(401, 404))
    async def get_account_model(account: str, model: str) -> AccountModel:
        name = f"accounts/{account}/models/{model}"
        check_known(pipeline.card, name)
        return _account_item(pipeline.card, name)

    return router


def check_can_answer(pipeline: Pipeline, model: str) -> None:
    """Raises NotFound where the model is not the served one, Overloaded while it cannot be asked."""
    check_known(pipeline.card, model)
    pipeline.check_ready()


def check_known(card: ModelCard, model: str) -> None:
    names = {card.id, *card.aliases}
    account, _, name = model.removeprefix("accounts/").partition("/models/")
    is_account_name = model.startswith("accounts/") and "/" not in account
    if model not in names and not (is_account_name and name == slug(card.id)):
        raise NotFound("Model not found, inaccessible, and/or not deployed", param="model")


def slug(model: str) -> str:
    """A model's id as account names write it: `Qwen/Qwen2.5-VL-3B-Instruct` is `qwen2p5-vl-3b-instruct`."""
    return model.rpartition("/")[2].lower().replace(".", "p")


def _account_names(card: ModelCard, account: str) -> list[str]:
    prefix = f"accounts/{account}/models/"
    aliases = [alias for alias in card.aliases if alias.startswith(prefix)]
    return list(dict.fromkeys([prefix + slug(card.id), *aliases]))


def _item(card: ModelCard, name: str) -> ModelItem:
    return {
        "id": name,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "kind": KIND,
        "supports_chat": True,
        "supports_image_input": card.supports_image_input,
        "supports_tools": False,
        "context_length": card.context_length,
    }


def _account_item(card: ModelCard, name: str) -> AccountModel:
    return {
        "name": name,
        "displayName": card.id,
        "state": "READY",
        "kind": KIND,
        "contextLength": card.context_length,
        "supportsImageInput": card.supports_image_input,
        "supportsTools": False,
    }
