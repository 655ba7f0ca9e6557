"""What a GGUF file says about its model, under the name of its architecture."""

from __future__ import annotations

from typing import Any

import numpy as np

from foveal.errors import CheckpointError
from foveal.models.gguf.kinds import check_kinds
from foveal.models.gguf.reader import GgufFile

MAX_SHORT_BYTES = 1 << 16


class Facts:
    """A file's settings under the name of its architecture."""

    def __init__(self, file: GgufFile) -> None:
        """Raises CheckpointError for settings of another kind than they should be."""
        check_kinds(file)
        self.file = file
        self.architecture = text_of(file, "general.architecture")

    def get(self, name: str, default: Any = None) -> Any:
        return self.file.metadata.get(f"{self.architecture}.{name}", default)

    def __getitem__(self, name: str) -> Any:
        found = self.get(name)
        if found is None:
            raise CheckpointError(f"{self.file.path} has no {self.architecture}.{name}; it is incomplete")
        return found

    def one(self, name: str) -> Any:
        """A number that some files give for each layer."""
        found = self[name]
        if isinstance(found, list):
            if len(set(found)) != 1:
                raise CheckpointError(f"{self.file.path}: {name} differs between layers, which is not implemented")
            return found[0]
        return found

    @property
    def head_dim(self) -> int:
        found: int = self.get("attention.key_length") or self.usual_head_dim
        return found

    @property
    def usual_head_dim(self) -> int:
        """Of a file that does not say another."""
        width, heads = self["embedding_length"], self.one("attention.head_count")
        if heads > width:
            raise CheckpointError(f"{self.file.path} has {heads} heads in {width} channels; the file is damaged")
        return int(width // heads)

    def numbers(self, tensor: str) -> list[float] | None:
        """A short tensor of float32; None where there is none."""
        if tensor not in self.file.tensors:
            return None
        found = self.file.tensors[tensor]
        if found.kind.name != "F32" or found.num_bytes > MAX_SHORT_BYTES:
            raise CheckpointError(f"{self.file.path}: {tensor} is no short list of float32")
        numbers: list[float] = self.file.bytes_of(tensor).reshape(-1).view(np.float32).tolist()
        return numbers


def text_of(file: GgufFile, name: str) -> str:
    found = file.metadata.get(name)
    if not isinstance(found, str):
        raise CheckpointError(f"{file.path} has no {name}; it is incomplete")
    return found
