"""The tensors of a folder that was made of GGUF files, under the names of Hugging Face's layouts.

A matrix in blocks, or in half precision, stays in the mapped file, and is multiplied or unpacked where it lies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from foveal.errors import CheckpointError
from foveal.layers.linear.mapped import MappedMatrix, numbers_of
from foveal.models.gguf.folder import MODEL, VISION
from foveal.models.gguf.names import Source, sources
from foveal.models.gguf.reader import GgufFile

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.models.checkpoint import Checkpoint
    from foveal.types import OnProgress

log = logging.getLogger(__name__)


class GgufTensors(Mapping[str, "Tensor"]):
    """Name -> tensor on `device`; floating-point tensors are converted to `dtype`."""

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, on_progress: OnProgress
    ) -> None:
        """Map every file. Raises CheckpointError if one is missing or damaged."""
        self.folder = checkpoint.folder
        self.device = device
        self.dtype = dtype
        self.on_progress = on_progress
        paths = sorted(self.folder.glob(f"{MODEL}*.gguf")) + sorted(self.folder.glob(f"{VISION}.gguf"))
        self._files = {name: file for file in map(GgufFile.read, paths) for name in file.tensors}
        decoder = checkpoint.decoder_config
        self._heads = decoder["num_attention_heads"], decoder["num_key_value_heads"]
        self._sources = sources(
            checkpoint.model_type, decoder["model_type"], self._files, swaps_mlp=self._swaps_mlp(checkpoint)
        )
        self._unread = set(self._sources)

    def __getitem__(self, name: str) -> Tensor:
        """Raises CheckpointError, not KeyError, for a missing tensor."""
        source = self._source(name)
        parts = [self._whole(part) for part in source.names]
        return self._changed(source, parts).to(self.device, self.dtype)

    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def packed(self, name: str) -> MappedMatrix | None:
        """The matrix of a name, if it lies in its file in fewer bits."""
        name = f"{name}.weight"
        if name not in self._sources:
            return None
        [first, *_] = self._sources[name].names
        file = self._files[first]
        tensor = file.tensors[first]
        if len(tensor.shape) != 2 or tensor.kind.name == "F32":
            return None
        source = self._source(name)
        stored = torch.from_numpy(file.bytes_of(first))
        if source.change:
            stored = self._unpaired(stored, source)
            file.forget(first)
        return MappedMatrix(tensor.kind.name, stored, self.dtype, self.device)

    def note_unread(self) -> None:
        """Log the tensors that were not read: the family may not need them, or may have missed them."""
        if self._unread:
            log.debug("%s: %d tensors are not used, such as %s", self.folder, len(self._unread), min(self._unread))

    def _source(self, name: str) -> Source:
        source = self._sources.get(name)
        missing = [part for part in source.names if part not in self._files] if source else [name]
        if source is None or missing:
            raise CheckpointError(f"{self.folder} has no tensor {missing[0]!r}; its files are incomplete")
        self._unread.discard(name)
        self.on_progress(1 - len(self._unread) / len(self._sources))
        return source

    def _whole(self, name: str) -> Tensor:
        """float32, or half precision."""
        tensor = self._files[name].tensors[name]
        stored = torch.from_numpy(self._files[name].bytes_of(name))
        return numbers_of(tensor.kind.name, stored).reshape(tensor.shape)

    def _changed(self, source: Source, parts: list[Tensor]) -> Tensor:
        [first, *_] = parts
        match source.change:
            case "frames apart":
                return torch.stack(parts, dim=2)
            case "one added":
                return first.float() - 1.0
            case "paired rows of queries" | "paired rows of keys":
                return self._unpaired(first, source)
        return first

    def _unpaired(self, rows: Tensor, source: Source) -> Tensor:
        """llama.cpp rotates neighbouring rows of a head, checkpoints its two halves."""
        num_heads = self._heads[source.change == "paired rows of keys"]
        if len(rows) % (2 * num_heads):
            raise CheckpointError(f"{self.folder}: {len(rows)} rows of {source.names[0]} are not of {num_heads} heads")
        order = np.arange(len(rows)).reshape(num_heads, -1, 2).swapaxes(1, 2).reshape(-1)
        return rows[torch.from_numpy(order)]

    def _swaps_mlp(self, checkpoint: Checkpoint) -> bool:
        """Older files call the second matrix of the tower's MLP `up`."""
        first = "v.blk.0.ffn_down.bias"
        if first not in self._files or "vision_config" not in checkpoint.config:
            return False
        vision = checkpoint.vision_config
        return bool(self._files[first].tensors[first].shape[0] != vision["hidden_size"])
