"""The tensors of a checkpoint: safetensors files, one or many shards, memory-mapped.

A tensor is read on access. One that already has the wanted dtype and device stays in the mapped file and is not copied.
Knows nothing of what the tensors mean. Pickled weights are never opened.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from foveal.errors import CheckpointError
from foveal.models.checkpoint import read_json

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor

    from foveal.types import OnProgress

log = logging.getLogger(__name__)

# The names that libraries have given the parts of LLaVA's layout, which several families share.
TOWER = ("vision_tower.vision_model", "vision_tower", "model.vision_tower.vision_model", "model.vision_tower")
PROJECTOR = ("multi_modal_projector", "model.multi_modal_projector")
TEXT = ("language_model.model", "model.language_model")
HEAD = ("language_model.lm_head", "lm_head")

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
SHARD = re.compile(r"model-[0-9]{5}-of-([0-9]{5})\.safetensors")
MAX_HEADER_BYTES = 16 << 20  # of a file's list of tensors; published ones have less than 1 MiB


class CheckpointTensors(Mapping[str, "Tensor"]):
    """Name -> tensor on `device`; floating-point tensors are converted to `dtype`."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, on_progress: OnProgress) -> None:
        """Map every file. Raises CheckpointError if one is missing or damaged."""
        self.folder = folder
        self.device = device
        self.dtype = dtype
        self.on_progress = on_progress
        opened = [(path, _open(path)) for path in weight_files(folder)]
        self._files = {name: file for _, file in opened for name in list(file.keys())}
        self._places = {name: path for path, file in opened for name in list(file.keys())}
        self._unread = set(self._files)

    def __getitem__(self, name: str) -> Tensor:
        """Raises CheckpointError, not KeyError, for a missing tensor."""
        tensor = self.stored(name)
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

    def stored(self, name: str) -> Tensor:
        """As it lies in the mapped file."""
        if name not in self._files:
            raise CheckpointError(f"{self.folder} has no tensor {name!r}; its files are incomplete or of another kind")
        tensor: Tensor = self._files[name].get_tensor(name)
        self._unread.discard(name)
        self.on_progress(1 - len(self._unread) / len(self._files))
        return tensor

    def place(self, name: str) -> str:
        """The file that holds it, or the folder that does not."""
        return str(self._places.get(name, self.folder))

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def note_unread(self) -> None:
        """Log the tensors that were not read: the family may not need them, or may have missed them."""
        if self._unread:
            log.debug("%s: %d tensors are not used, such as %s", self.folder, len(self._unread), min(self._unread))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: the only one, those in its index, or without one those that count themselves.

    Raises CheckpointError that names the missing files.
    """
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    names = _names(folder / INDEX_FILE) if (folder / INDEX_FILE).is_file() else _shards(folder)
    if not names:
        raise CheckpointError(
            f"{folder} has no {SINGLE_FILE} and no {INDEX_FILE}; "
            "pickled weights (*.bin, *.pth) are never loaded: convert them to safetensors"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder} lacks {len(missing)} of {len(names)} weight files: {', '.join(missing[:4])}")
    return [folder / name for name in names]


def prefix(tensors: Mapping[str, Tensor], *known: str) -> str:
    """The first of `known` that is a prefix of tensors' names: libraries have given the same part several names.

    If none is, the first of `known`, so that the error names it.
    """
    return next((name for name in known if any(key == name or key.startswith(f"{name}.") for key in tensors)), known[0])


def _names(index: Path) -> list[str]:
    """The files that an index names, all beside it. Raises CheckpointError for a name that leads elsewhere."""
    found = read_json(index)["weight_map"]
    if not isinstance(found, dict):
        raise CheckpointError(f"{index}: weight_map must be an object, of tensors and their files")
    for name in found.values():
        if not isinstance(name, str) or not name.endswith(".safetensors") or "/" in name or "\0" in name:
            raise CheckpointError(f"{index} names {str(name)[:80]!r}, which is no safetensors file beside it")
    return sorted(set(found.values()))


def _shards(folder: Path) -> list[str]:
    """The names of all shards, as one that is there counts them."""
    found = next(filter(None, (SHARD.fullmatch(file.name) for file in sorted(folder.glob("*.safetensors")))), None)
    count = int(found[1]) if found else 0
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def _open(file: Path) -> Any:
    """Raises CheckpointError for a damaged file, or one whose list of tensors is too long to be a model's."""
    try:
        with file.open("rb") as opened:
            if int.from_bytes(opened.read(8), "little") > MAX_HEADER_BYTES:
                raise CheckpointError(f"{file} is damaged: its header claims more than {MAX_HEADER_BYTES >> 20} MiB")
        return safe_open(file, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or cut off; download it again") from error
