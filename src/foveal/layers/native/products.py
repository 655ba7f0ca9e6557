"""Products with quantised matrices in native code (gemm.c)."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch

from foveal.layers.linear.block_types import BY_NAME
from foveal.layers.native import library as native

if TYPE_CHECKING:
    from torch import Tensor

INT8, Q4_0, Q8_0 = native.INT8, native.Q4_0, native.Q8_0
GROUP = 32  # weights of one output whose products are added up as integers, in the forms in blocks
TYPE_OF = dict(enumerate(native.BLOCK_TYPES + native.OWN_TYPES, 1))  # the type of a form's blocks
FORM_OF = {kind: form for form, kind in TYPE_OF.items()}
BLOCK_BYTES = {form: BY_NAME[kind].block_bytes for form, kind in TYPE_OF.items()}
MAX_SUM = 2**31 - 1  # of products: they are added up in int32
MAX_ROUNDED = 2**15 - 1  # of an activation
LARGEST = {
    "Q6_K": 128 * 32,
    "F8": 3584,
    "E2M1": 12 * 255,
    "NF4": 5039,
}  # numbers that leave 16-bit rows too little room
MAX_ROUNDED_OF = {FORM_OF[kind]: MAX_SUM // (GROUP * largest) for kind, largest in LARGEST.items()}


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
