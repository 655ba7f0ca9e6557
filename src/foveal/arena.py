"""The pixel arena: one bounded region of anonymous shared memory for the prepared pixels of all images.

The server creates it. Image workers and the engine inherit its file descriptor and map the same memory, so pixels are
written once and never sent. It has no name and no file, so the kernel frees it when the last process ends, also after
a crash. This module only maps the memory; `media.cache` decides which bytes belong to which image.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

from foveal.types import PixelRef

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PixelArena:
    """`num_bytes` of shared memory behind `fd`. `create` makes a new one, the constructor maps an inherited one."""

    def __init__(self, fd: int, num_bytes: int) -> None:
        self.fd = fd
        self.num_bytes = num_bytes
        self._bytes = np.frombuffer(mmap.mmap(fd, num_bytes), dtype=np.uint8)

    @classmethod
    def create(cls, num_bytes: int) -> PixelArena:
        fd = os.memfd_create("foveal-pixels")
        os.ftruncate(fd, num_bytes)
        return cls(fd, num_bytes)

    def view(self, ref: PixelRef) -> NDArray[np.uint8]:
        """The pixels at `ref`, in place and writable, of shape `ref.shape`."""
        num_bytes = int(np.prod(ref.shape))
        if ref.offset < 0 or ref.offset + num_bytes > self.num_bytes:
            raise ValueError("pixel reference outside the arena")
        return self._bytes[ref.offset : ref.offset + num_bytes].reshape(ref.shape)
