"""Fields that dialects name differently, and that mean the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foveal.errors import InvalidRequest

if TYPE_CHECKING:
    from foveal.serving.pipeline import ModelCard
    from foveal.types import SamplingParams


def sampling_with(card: ModelCard, seed: int, **asked: Any) -> SamplingParams:
    """The checkpoint's defaults with what the client asked for. None: it did not ask."""
    return replace(
        card.default_sampling, seed=seed, **{name: value for name, value in asked.items() if value is not None}
    )


def page_range(pages: str | None) -> tuple[int, int] | None:
    """`"3"` or `"2-5"` as first and last page. Raises InvalidRequest where the first comes after the last."""
    if pages is None:
        return None
    first, _, last = pages.partition("-")
    if last and int(last) < int(first):
        raise InvalidRequest(f"The pages {pages} end before they begin, field: 'pages'", param="pages")
    return int(first), int(last or first)
