"""Finds a model's local folder: from a path, a hub id (owner/name) or the name of the model inside the package.

Downloads use the hub library's progress bars, cache (HF_HOME) and offline mode (HF_HUB_OFFLINE). Settings come first,
so that a model that cannot be served is refused before its weights are downloaded. The hub library is imported only
for a hub id. No weights are opened here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

from foveal.errors import CheckpointError
from foveal.models.checkpoint import Checkpoint
from foveal.models.registry import family_of

BUNDLED_MODEL = "foveal-mini"
BUNDLED_FOLDER = Path(__file__).parents[1] / "bundled" / BUNDLED_MODEL
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")  # does not match ./name, which is a path

SETTINGS = ("*.json", "*.jinja", "tokenizer.model", "LICENSE*")
WEIGHTS = ("*.safetensors",)

Download = Callable[[str, str | None, tuple[str, ...]], str]
"""(hub id, revision, file patterns) -> the folder of the snapshot. Raises what huggingface_hub raises."""


def check_model(path: str) -> None:
    """Check quickly and without the network whether the model can be served. A hub id is not checked.

    Raises CheckpointError that says what to do.
    """
    folder = _on_disk(path)
    if folder is not None:
        family_of(Checkpoint.read(folder))


def local_folder(path: str, revision: str | None = None, download: Download | None = None) -> Path:
    """The folder of the model `path`: a folder, the bundled model's name, or a hub id, downloaded unless it is cached.

    Raises CheckpointError that says what to do.
    """
    folder = _on_disk(path)
    if folder is not None:
        return folder
    download = download or _download
    family_of(Checkpoint.read(_snapshot(path, revision, SETTINGS, download)))
    return _snapshot(path, revision, WEIGHTS, download)


def _on_disk(path: str) -> Path | None:
    """The model's folder; None for a hub id. Raises CheckpointError if `path` is neither."""
    if path == BUNDLED_MODEL:
        return BUNDLED_FOLDER
    if Path(path).is_dir():
        return Path(path)
    if not HUB_ID.fullmatch(path):
        raise CheckpointError(f"{path} is no folder; give a folder, a hub id (owner/name) or {BUNDLED_MODEL}")
    return None


def _download(hub_id: str, revision: str | None, patterns: tuple[str, ...]) -> str:
    from huggingface_hub import snapshot_download

    return cast("str", snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns)))


def _snapshot(hub_id: str, revision: str | None, patterns: tuple[str, ...], download: Download) -> Path:
    from huggingface_hub import errors

    try:
        return Path(download(hub_id, revision, patterns))
    except errors.GatedRepoError as error:
        advice = f"accept its terms at https://huggingface.co/{hub_id} and set HF_TOKEN"
        raise CheckpointError(f"{hub_id} is gated: {advice}") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise CheckpointError(f"the hub has no model {hub_id}, or it is private and HF_TOKEN is not set") from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{hub_id} has no revision {revision!r} on the hub") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        advice = "go online (and unset HF_HUB_OFFLINE) or give a folder"
        raise CheckpointError(f"{hub_id} is not in the hub cache and the hub is out of reach: {advice}") from error
    except OSError as error:
        raise CheckpointError(f"{hub_id} could not be downloaded ({type(error).__name__}); try again") from error
