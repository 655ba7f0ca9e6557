"""How an answer is generated, from fields that dialects name differently."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveal.serving.pipeline import ModelCard
    from foveal.types import SamplingParams


def sampling_with(card: ModelCard, seed: int, **asked: Any) -> SamplingParams:
    """The checkpoint's defaults with what the client asked for. None: it did not ask."""
    return replace(
        card.default_sampling, seed=seed, **{name: value for name, value in asked.items() if value is not None}
    )
