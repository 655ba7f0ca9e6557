"""Finds a model's local folder: from a path, a hub id (owner/name) or the name of the model inside the package.

A GGUF file, a folder of such, and one on the hub (owner/name:Q4_K_M) become a folder, too (models/gguf/folder.py). So
does InternVL in its authors' layout.

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
from foveal.models.checkpoint import Checkpoint, read_json
from foveal.models.registry import family_of

BUNDLED_MODEL = "foveal-mini"
BUNDLED_FOLDER = Path(__file__).parents[1] / "bundled" / BUNDLED_MODEL
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")  # does not match ./name, which is a path

SETTINGS = ("*.json", "*.jinja", "tokenizer.model", "merges.txt", "LICENSE*")
WEIGHTS = ("*.safetensors",)
ORIGINAL_INTERNVL = "internvl_chat"  # the type in its authors' layout (models/internvl/original.py)
GGUF_ID = re.compile(rf"({HUB_ID.pattern}):(\w[\w.-]*)")  # of a hub id, and what stands in the file's name
VISION_FILES = ("*mmproj*[!bB][fF]16.gguf", "*mmproj*.gguf")  # in half precision, or else whatever there is

Download = Callable[[str, str | None, tuple[str, ...]], str]
"""(hub id, revision, file patterns) -> the folder of the snapshot. Raises what huggingface_hub raises."""


def check_model(path: str, vision: str | None = None) -> None:
    """Check quickly and without the network whether the model can be served. A hub id is not checked.

    vision: the GGUF file of its vision part. Raises CheckpointError that says what to do.
    """
    folder = _on_disk(path, vision)
    if folder is not None:
        family_of(Checkpoint.read(folder))


def local_folder(
    path: str, revision: str | None = None, download: Download | None = None, vision: str | None = None
) -> Path:
    """The folder of the model `path`: a folder, the bundled model's name, or a hub id, downloaded unless it is cached.

    vision: the GGUF file of its vision part. Raises CheckpointError that says what to do.
    """
    folder = _on_disk(path, vision)
    if folder is not None:
        return folder
    download = download or _download
    if of_file := GGUF_ID.fullmatch(path):
        return _of_hub_file(of_file[1], of_file[2], revision, download, vision)
    family_of(Checkpoint.read(_in_our_layout(_snapshot(path, revision, SETTINGS, download))))
    return _in_our_layout(_snapshot(path, revision, WEIGHTS, download))


def _on_disk(path: str, vision: str | None) -> Path | None:
    """The model's folder; None for a hub id. Raises CheckpointError if `path` is neither."""
    if path == BUNDLED_MODEL:
        return BUNDLED_FOLDER
    if not path:
        raise CheckpointError("these settings have only models of other servers: name one that can be loaded here")
    if path.endswith(".gguf") and Path(path).is_file():
        return _of_gguf(Path(path), vision)
    if Path(path).is_dir():
        if (Path(path) / "config.json").is_file() or not any(Path(path).glob("*.gguf")):
            return _in_our_layout(Path(path))
        return _of_gguf(Path(path), vision)
    if not HUB_ID.fullmatch(path) and not GGUF_ID.fullmatch(path):
        raise CheckpointError(
            f"{path} is no folder; give a folder, a hub id (owner/name) or {BUNDLED_MODEL}, or a GGUF file"
        )
    return None


def _in_our_layout(folder: Path) -> Path:
    """The folder itself, or one made of InternVL's original layout."""
    if read_json(folder / "config.json").get("model_type") != ORIGINAL_INTERNVL:
        return folder
    from foveal.models.internvl.original import folder_of

    return folder_of(folder)


def _of_gguf(path: Path, vision: str | None) -> Path:
    """The folder made of a GGUF file, or of the one model among a folder's files."""
    from foveal.models.gguf.folder import files_in, folder_of  # with numpy: a mistake is answered without it

    model, found = files_in(path) if path.is_dir() else (path, None)
    return folder_of(model, Path(vision) if vision else found)


def _of_hub_file(hub_id: str, wanted: str, revision: str | None, download: Download, vision: str | None) -> Path:
    """The folder of a GGUF file on the hub, and of the vision part that lies beside it."""
    from foveal.models.gguf.folder import files_in, folder_of

    patterns = tuple(dict.fromkeys(f"*{name}*.gguf" for name in (wanted, wanted.upper(), wanted.lower())))
    snapshot = _snapshot(hub_id, revision, patterns, download)
    model, found = files_in(snapshot, wanted)
    for pattern in () if vision else VISION_FILES:
        _, found = files_in(_snapshot(hub_id, revision, (pattern,), download), wanted)
        if found:
            break
    return folder_of(model, Path(vision) if vision else found)


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
