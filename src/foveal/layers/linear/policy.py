"""Which form each matrix of a model gets, by the quantization that was chosen for the model (decision 027)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.layers.linear.form import PUBLISHED, MatrixFacts, all_plain
from foveal.layers.native.products import GROUP

if TYPE_CHECKING:
    from foveal.layers.linear.form import Policy


def policy_of(quantization: str) -> Policy:
    """The policy of none, published, int8 or int4."""
    return {"none": all_plain, "published": _published, "int8": _int8, "int4": _int4}[quantization]


def _published(facts: MatrixFacts) -> str:
    return PUBLISHED if facts.is_packed else "plain"


def _int8(facts: MatrixFacts) -> str:
    """What a file has quantised is not rounded again."""
    if facts.is_packed:
        return PUBLISHED
    return "plain" if facts.use == "lookup" else "int8"


def _int4(facts: MatrixFacts) -> str:
    """A decoder's layers are read for each token, so that bytes count there. Towers and heads gain nothing by int4."""
    is_layer = facts.part == "decoder layers" and not facts.is_packed
    return "int4" if is_layer and facts.in_features % GROUP == 0 else _int8(facts)
