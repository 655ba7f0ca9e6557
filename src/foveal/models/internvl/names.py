"""The names that InternVL's authors gave its tensors, as those of the transformers library."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.layers.linear.load import Weights

EMBEDDINGS = "vision_tower.embeddings"
NAMES = (  # patterns of the authors' names, without what follows the last dot of a matrix's
    (r"^vision_model\.embeddings\.class_embedding$", f"{EMBEDDINGS}.cls_token"),
    (r"^vision_model\.embeddings\.position_embedding$", f"{EMBEDDINGS}.position_embeddings"),
    (r"^vision_model\.embeddings\.patch_embedding\b", f"{EMBEDDINGS}.patch_embeddings.projection"),
    (r"^vision_model\.encoder\.layers\b", "vision_tower.encoder.layer"),
    (r"^(vision_tower\.encoder\.layer\.\d+)\.norm1\b", r"\1.layernorm_before"),
    (r"^(vision_tower\.encoder\.layer\.\d+)\.norm2\b", r"\1.layernorm_after"),
    (r"^(vision_tower\.encoder\.layer\.\d+)\.ls(\d)$", r"\1.lambda_\2"),
    (r"^(vision_tower\.encoder\.layer\.\d+)\.attn\.proj\b", r"\1.attention.projection_layer"),
    (r"^(vision_tower\.encoder\.layer\.\d+)\.attn\b", r"\1.attention"),
    (r"^mlp1\.0\b", "multi_modal_projector.layer_norm"),
    (r"^mlp1\.1\b", "multi_modal_projector.linear_1"),
    (r"^mlp1\.3\b", "multi_modal_projector.linear_2"),
)


def renamed(weights: Weights) -> Weights:
    """The weights under the library's names, whichever they have."""
    if not any(name.startswith("mlp1.") for name in weights):
        return weights
    names = {ours(name): name for name in weights}
    matrices = {name.rpartition(".")[0]: theirs.rpartition(".")[0] for name, theirs in names.items()}
    packed = weights.packed
    return replace(
        weights,
        tensors=_Renamed(weights.tensors, names),
        packed=packed and (lambda name: packed(matrices.get(name, name))),
    )


def ours(name: str) -> str:
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


class _Renamed(Mapping[str, "Tensor"]):
    def __init__(self, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        self._tensors = tensors
        self._names = names

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._names.get(name, name)]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
