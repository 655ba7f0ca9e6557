"""Products with quantised matrices in native code (gemm.c)."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch

from foveal.layers.native import library as native

if TYPE_CHECKING:
    from torch import Tensor

INT8, Q4_0, Q8_0 = native.INT8, native.Q4_0, native.Q8_0
GROUP = 32  # weights of one output that share a scale, in the forms in blocks
BLOCK_BYTES = {Q4_0: 18, Q8_0: 34}  # of a group
MAX_SUM = 2**31 - 1  # of products: they are added up in int32
MAX_ROUNDED = 2**15 - 1  # of an activation


def multiply(matrix: native.Matrix, x: Tensor) -> Tensor:
    """x W^T + b in float32: [..., in] -> [..., out]. Raises MemoryError. The library has to be there."""
    library = native.library()
    assert library is not None
    rows = x.reshape(-1, matrix.in_).float()
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    y = torch.empty(len(rows), matrix.out)
    pool = native.pool(torch.get_num_threads())
    pointers = rows.data_ptr(), len(rows), rows.stride(0), y.data_ptr(), matrix.out
    if library.foveal_product(pool, ctypes.byref(matrix), *pointers):
        raise MemoryError
    return y.view(*x.shape[:-1], matrix.out)
