"""Models as Anthropic's API lists them, for clients that say so by `anthropic-version`: the path is OpenAI's, too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foveal.serving.pipeline import ModelCard


class ModelInfo(TypedDict):
    type: Literal["model"]
    id: str
    display_name: str
    created_at: str  # RFC 3339
    max_input_tokens: int


class ModelInfoList(TypedDict):
    data: list[ModelInfo]
    first_id: str | None
    last_id: str | None
    has_more: Literal[False]  # one page has them all


def is_asked(headers: Mapping[str, str]) -> bool:
    return "anthropic-version" in headers


def model_info(card: ModelCard, name: str) -> ModelInfo:
    """`name`: the one of the model's names that is asked for."""
    return {
        "type": "model",
        "id": name,
        "display_name": card.id,
        "created_at": datetime.fromtimestamp(card.created, UTC).isoformat().replace("+00:00", "Z"),
        "max_input_tokens": card.context_length,
    }


def model_info_list(infos: Sequence[ModelInfo]) -> ModelInfoList:
    ids = [info["id"] for info in infos]
    return {
        "data": [*infos],
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": False,
    }
