"""Which types of transformers are served this way: those that were compared with transformers, and no others."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from foveal.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foveal.models.checkpoint import Checkpoint

VERIFIED: tuple[str, ...] = ("aya_vision",)
TWO_WAY: tuple[str, ...] = ()  # of them, those whose images' tokens attend to each other
REFUSED: dict[str, str] = {}  # why, to be read after the type


def check_type(checkpoint: Checkpoint, own: Iterable[str]) -> None:
    """Raises CheckpointError, with a sentence, for a checkpoint that this family cannot serve.

    own: the types that have families of their own.
    """
    kind, folder = checkpoint.model_type, checkpoint.folder
    if kind in REFUSED:
        raise CheckpointError(f"{folder} has model_type {kind!r}, which cannot be served: {REFUSED[kind]}")
    if kind not in VERIFIED:
        known = ", ".join(sorted({*own, *VERIFIED}))
        own_code = "; code in a checkpoint is never run" if "auto_map" in checkpoint.config else ""
        raise CheckpointError(f"{folder} has model_type {kind!r}{own_code}; supported: {known}")
    if checkpoint.quantisation:
        raise CheckpointError(f"{folder} holds quantised weights, which are not read for model_type {kind!r}")
    if find_spec("transformers") is None:
        raise CheckpointError(
            f"{folder} has model_type {kind!r}, which is served by modules of transformers: "
            "pip install 'foveal[transformers]'"
        )
