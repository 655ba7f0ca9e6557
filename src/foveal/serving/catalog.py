"""The models that can be served without a download: the one inside the package, and those in the hub cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from foveal.errors import CheckpointError
from foveal.models.checkpoint import Checkpoint
from foveal.models.hub import BUNDLED_FOLDER, BUNDLED_MODEL
from foveal.models.registry import FAMILIES


@dataclass(frozen=True, slots=True)
class KnownModel:
    id: str  # what to give to `foveal serve`
    model_type: str
    state: str  # for the person who reads the list


def known_models() -> Iterator[KnownModel]:
    """The bundled model, then cached ones in alphabetical order."""
    yield KnownModel(BUNDLED_MODEL, Checkpoint.read(BUNDLED_FOLDER).model_type, "inside the package")
    yield from sorted(_cached_models(), key=lambda model: model.id)


def _cached_models() -> Iterator[KnownModel]:
    from huggingface_hub import errors, scan_cache_dir

    try:
        cache = scan_cache_dir()
    except errors.CacheNotFound:
        return
    for repo in cache.repos:
        for revision in repo.revisions:
            try:
                model_type = Checkpoint.read(revision.snapshot_path).model_type
            except CheckpointError:
                continue  # a data set, a tokenizer, something else
            state = f"cached ({revision.size_on_disk_str})" if model_type in FAMILIES else "cached, cannot be served"
            yield KnownModel(repo.repo_id, model_type, state)
