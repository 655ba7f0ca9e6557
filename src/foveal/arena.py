"""The pixel arena: one bounded region of anonymous shared memory for the prepared pixels of all images.

The server creates it. Image workers and the engine inherit its file descriptor and map the same memory, so pixels are
written once and never sent. It has no name and no file, so the kernel frees it when the last process ends, also after
a crash. This module only maps the memory; `media.cache` decides which bytes belong to which image.
"""

from __future__ import annotations

import math
import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from foveal.types import PixelRef


class PixelArena:
    """`num_bytes` of shared memory behind `fd`. `create` makes a new one, the constructor maps an inherited one."""

    def __init__(self, fd: int, num_bytes: int) -> None:
        self.fd = fd
        self.num_bytes = num_bytes
        self._bytes = mmap.mmap(fd, num_bytes)

    @classmethod
    def create(cls, num_bytes: int) -> PixelArena:
        fd = os.memfd_create("foveal-pixels")
        os.ftruncate(fd, num_bytes)
        return cls(fd, num_bytes)

    def view(self, ref: PixelRef) -> NDArray[np.uint8]:
        """The pixels at `ref`, in place and writable, of shape `ref.shape`."""
        import numpy as np  # a server makes the arena, and starts its engine, before it takes the time for this

        num_bytes = math.prod(ref.shape)
        if ref.offset < 0 or ref.offset + num_bytes > self.num_bytes:
            raise ValueError("pixel reference outside the arena")
        return np.frombuffer(self._bytes, np.uint8, num_bytes, ref.offset).reshape(ref.shape)
