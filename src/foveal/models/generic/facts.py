"""What a processor of transformers makes of an image: what its size alone decides, and what the picture adds.

Facts are made in a process that sees no pictures, and travel with the image's layout. So the numbers by which the
engine reads pixels never come from a process that read untrusted bytes. Pixels are the floating-point arrays, as
float32, one after the other in the order of their names.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from foveal.types import ImageSpan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]


class ArrayFacts(msgspec.Struct, frozen=True, array_like=True):
    """An array's shape; its type and values where the size decides them, and neither where the picture does."""

    shape: tuple[int, ...]
    dtype: str = ""
    values: bytes = b""

    @property
    def is_pixels(self) -> bool:
        return not self.dtype

    @property
    def num_bytes(self) -> int:
        return 4 * int(np.prod(self.shape)) if self.is_pixels else 0


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """All that is known of an image by its size."""

    token_ids: tuple[int, ...]  # that stand for it in a prompt
    feature_ids: tuple[int, ...]  # those of them that features replace
    arrays: dict[str, ArrayFacts]

    @property
    def spans(self) -> tuple[ImageSpan, ...]:
        found, at = [], 0
        for is_span, run in groupby(token_id in self.feature_ids for token_id in self.token_ids):
            length = len(list(run))
            found += [ImageSpan(at, length)] * is_span
            at += length
        return tuple(found)

    @property
    def num_bytes(self) -> int:
        """Of the pixels."""
        return sum(array.num_bytes for array in self.arrays.values())

    def known(self) -> dict[str, NDArray[np.generic]]:
        """The arrays that the size decides."""
        return {
            name: np.frombuffer(array.values, array.dtype).reshape(array.shape).copy()
            for name, array in self.arrays.items()
            if not array.is_pixels
        }

    def with_pixels(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
        """All arrays; those of the picture are copies of its pixels."""
        found, at = self.known(), 0
        for name, array in sorted(self.arrays.items()):
            if array.is_pixels:
                found[name] = pixels[at : at + array.num_bytes].copy().view(np.float32).reshape(array.shape)
                at += array.num_bytes
        return found


def facts_of(arrays: Arrays, token_ids: tuple[int, ...], feature_ids: tuple[int, ...]) -> Facts:
    return Facts(
        token_ids,
        feature_ids,
        {
            name: ArrayFacts(array.shape)
            if np.issubdtype(array.dtype, np.floating)
            else ArrayFacts(array.shape, array.dtype.str, array.tobytes())
            for name, array in arrays.items()
        },
    )


def pixels_of(arrays: Arrays) -> NDArray[np.uint8]:
    parts = [
        np.ascontiguousarray(array, np.float32).reshape(-1).view(np.uint8)
        for _, array in sorted(arrays.items())
        if np.issubdtype(array.dtype, np.floating)
    ]
    return np.concatenate(parts)


def encode(facts: Facts) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(facts))


@lru_cache(256)
def decode(encoded: bytes) -> Facts:
    return msgspec.msgpack.decode(zlib.decompress(encoded), type=Facts)
