"""Reads a GGUF file: its metadata, and where its tensors lie. The file is mapped, and no tensor is copied.

A file is untrusted. Every number in its header is checked against the file before anything is made from it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import CheckpointError
from foveal.layers.linear.block_types import TYPES, StoredType

MAGIC, VERSIONS = b"GGUF", (2, 3)
MAX_TENSORS, MAX_SETTINGS = 1 << 16, 1 << 14  # published files have less than 3,000 and some 50
MAX_VALUES = 1 << 22  # in lists of texts, of all settings; published files have less than a million
MAX_NAME_BYTES, MAX_TEXT_BYTES = 1 << 10, 1 << 24
MAX_AXES, MAX_NUMBERS = 4, 1 << 40
DEFAULT_ALIGNMENT, MAX_ALIGNMENT = 32, 1 << 16

NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
TEXT, LIST = 8, 9


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies. `shape` is in the order of torch: the reverse of the file's."""

    name: str
    kind: StoredType
    shape: tuple[int, ...]
    offset: int  # in the file

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) // self.kind.block_weights * self.kind.block_bytes


@dataclass(frozen=True, slots=True, eq=False)
class GgufFile:
    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]
    data: mmap.mmap

    @classmethod
    def read(cls, path: Path) -> GgufFile:
        """Raises CheckpointError, in one sentence, for a file that is damaged or is none."""
        try:
            with path.open("rb") as file:
                # Private and writable: torch wants to be able to write where a tensor lies. Nobody does.
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:  # ValueError: it is empty
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        header = _Header(path, data)
        metadata, tensors = header.read()
        return cls(path, metadata, tensors, data)

    def bytes_of(self, name: str) -> NDArray[np.uint8]:
        """A tensor's bytes, where they lie: [rows, bytes of a row], rows being all axes but the last."""
        tensor = self.tensors[name]
        found = np.frombuffer(self.data, np.uint8, tensor.num_bytes, tensor.offset)
        return found.reshape(prod(tensor.shape[:-1]), -1)

    def forget(self, name: str) -> None:
        """The memory that a tensor's pages take; they are read again when they are needed."""
        tensor, page = self.tensors[name], mmap.PAGESIZE
        start, stop = -(-tensor.offset // page) * page, (tensor.offset + tensor.num_bytes) // page * page
        if stop > start:
            self.data.madvise(mmap.MADV_DONTNEED, start, stop - start)


class _Header:
    """What comes before the tensors' numbers, read from its beginning."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.at = 0
        self.num_values = 0

    def read(self) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
        if self._bytes(4) != MAGIC:
            raise CheckpointError(f"{self.path} is no GGUF file")
        version = self._number("<I")
        if version not in VERSIONS:
            raise CheckpointError(f"{self.path} has version {version} of the format; only 2 and 3 can be read")
        num_tensors, num_settings = self._number("<Q"), self._number("<Q")
        if num_tensors > MAX_TENSORS or num_settings > MAX_SETTINGS:
            raise self._damaged(f"it claims {num_tensors} tensors and {num_settings} settings")
        metadata: dict[str, Any] = {}
        for _ in range(num_settings):
            name = self._name()
            if name in metadata:
                raise self._damaged(f"it has the setting {name!r} twice")
            metadata[name] = self._value(self._number("<I"))
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 8 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise self._damaged("its alignment is no power of two from 8 on")
        found = [self._tensor() for _ in range(num_tensors)]
        return metadata, self._placed(found, -(-self.at // alignment) * alignment, alignment)

    # --- values -------------------------------------------------------------------------------------------------------

    def _bytes(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise self._damaged("its header goes beyond its end")
        self.at += count
        return self.data[self.at - count : self.at]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _text(self, most: int = MAX_TEXT_BYTES) -> str:
        count = self._number("<Q")
        if count > most:
            raise self._damaged(f"it claims a text of {count} bytes")
        try:
            return self._bytes(count).decode()
        except UnicodeDecodeError as error:
            raise self._damaged("a text in it is not UTF-8") from error

    def _name(self) -> str:
        return self._text(MAX_NAME_BYTES)

    def _value(self, kind: int) -> Any:
        if kind == TEXT:
            return self._text()
        if kind == LIST:
            return self._list(self._number("<I"), self._number("<Q"))
        return self._numbers(kind, 1)[0].item()

    def _list(self, kind: int, count: int) -> list[Any]:
        if kind == LIST:
            raise self._damaged("it has lists in lists")
        if kind != TEXT:
            found: list[Any] = self._numbers(kind, count).tolist()
            return found
        self.num_values += count
        if self.num_values > MAX_VALUES:
            raise self._damaged(f"it claims {self.num_values} texts")
        return [self._text() for _ in range(count)]

    def _numbers(self, kind: int, count: int) -> NDArray[Any]:
        if kind not in NUMBERS:
            raise self._damaged(f"it has a setting of the unknown type {kind}")
        if count > MAX_VALUES:
            raise self._damaged(f"it claims a list of {count} numbers")
        return np.frombuffer(self._bytes(count * np.dtype(NUMBERS[kind]).itemsize), NUMBERS[kind])

    # --- tensors ------------------------------------------------------------------------------------------------------

    def _tensor(self) -> StoredTensor:
        """Its offset is still from where the first tensor begins."""
        name, num_axes = self._name(), self._number("<I")
        if not 1 <= num_axes <= MAX_AXES:
            raise self._damaged(f"{name!r} has {num_axes} axes")
        shape = tuple(self._number("<Q") for _ in range(num_axes))[::-1]
        kind, offset = self._number("<I"), self._number("<Q")
        if kind not in TYPES:
            raise CheckpointError(f"{self.path}: {name!r} has the type {kind} of ggml, which cannot be read")
        if not 0 < prod(shape) <= MAX_NUMBERS or shape[-1] % TYPES[kind].block_weights:
            raise self._damaged(f"{name!r} has the shape {list(shape)}")
        return StoredTensor(name, TYPES[kind], shape, offset)

    def _placed(self, tensors: list[StoredTensor], start: int, alignment: int) -> dict[str, StoredTensor]:
        """By name, in the order of their places. No two may share a byte, and all must lie in the file."""
        placed: dict[str, StoredTensor] = {}
        end = start
        for tensor in sorted(tensors, key=lambda each: each.offset):
            if tensor.name in placed:
                raise self._damaged(f"it has the tensor {tensor.name!r} twice")
            if tensor.offset % alignment or start + tensor.offset < end:
                raise self._damaged(f"{tensor.name!r} does not begin where it could")
            tensor = StoredTensor(tensor.name, tensor.kind, tensor.shape, start + tensor.offset)
            end = tensor.offset + tensor.num_bytes
            if end > len(self.data):
                raise CheckpointError(f"{self.path} is cut off before the end of {tensor.name!r}; download it again")
            placed[tensor.name] = tensor
        return placed

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is damaged: {why}; download it again")


def parts_of(path: Path) -> Iterator[Path]:
    """The files that a model is split into (name-00001-of-00003.gguf), or the only one."""
    stem, _, total = path.stem.rpartition("-of-")
    name, _, number = stem.rpartition("-")
    if not (name and total.isdecimal() and number.isdecimal() and len(total) == len(number) == 5):
        yield path
        return
    for part in range(1, int(total) + 1):
        yield path.with_name(f"{name}-{part:05}-of-{total}.gguf")
