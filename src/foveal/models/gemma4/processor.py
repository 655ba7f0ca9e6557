from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.models.checkpoint import Checkpoint


def load(checkpoint: Checkpoint) -> None:
    return None
