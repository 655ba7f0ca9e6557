"""The compiled decode step (step.c, with records.h): which build of it this CPU can run, and the structs that it takes.

Knows nothing of decoders. Where no build is there, `library()` is None, and whoever asks goes on with torch.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path
from typing import ClassVar

FOLDER = Path(__file__).parent
CPUINFO = Path("/proc/cpuinfo")
# The builds, best first, and what the kernel must list of the CPU for each; those of hatch_build.py.
NEEDS = {
    "avx512vnni": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd", "avx512_vnni"},
    "avx2": {"avx2", "fma", "bmi2", "f16c"},
    "base": set[str](),
}
MAX_ROWS = 16  # of a step; more are run in several

log = logging.getLogger(__name__)

FLOAT32, BFLOAT16, INT8 = range(3)
SILU, GELU, GELU_TANH = range(3)


class Matrix(ctypes.Structure):
    _fields_: ClassVar = [
        ("weight", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("out", ctypes.c_int64),
        ("in_", ctypes.c_int64),
        ("type", ctypes.c_int32),
        ("unused", ctypes.c_int32),
    ]


class Layer(ctypes.Structure):
    _fields_: ClassVar = [
        *(
            (name, ctypes.c_void_p)
            for name in (
                "attention_norm",
                "query_norm",
                "key_norm",
                "after_attention_norm",
                "mlp_norm",
                "after_mlp_norm",
            )
        ),
        *((name, Matrix) for name in ("query", "key", "value", "out", "gate", "up", "down")),
        ("window", ctypes.c_int64),
        ("rope", ctypes.c_int64),
    ]


class Decoder(ctypes.Structure):
    _fields_: ClassVar = [
        ("layers", ctypes.POINTER(Layer)),
        *(
            (name, ctypes.c_int64)
            for name in (
                "num_layers",
                "width",
                "num_heads",
                "num_kv_heads",
                "head_dim",
                "mlp_width",
                "rotary_width",
                "block_size",
                "num_blocks",
            )
        ),
        ("kv_type", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("eps", ctypes.c_float),
        ("query_scale", ctypes.c_float),
        ("norm", ctypes.c_void_p),
    ]


class Step(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("x", "kv_cache", "cos", "sin", "block_tables", "seq_lens", "slots")),
        ("num_rows", ctypes.c_int64),
        ("max_blocks", ctypes.c_int64),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """The best build that this CPU can run; None where there is none."""
    flags = set(CPUINFO.read_text("utf-8").split())
    for name, needed in NEEDS.items():
        file = FOLDER / f"libstep-{name}.so.1"
        if needed <= flags and file.is_file():
            return _declared(ctypes.CDLL(str(file)))
    log.info("there is no native decode step in this installation; torch decodes, more slowly")
    return None


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    found.foveal_pool.restype, found.foveal_pool.argtypes = pointer, [ctypes.c_int]
    found.foveal_close.restype, found.foveal_close.argtypes = None, [pointer]
    found.foveal_step.argtypes = [pointer, ctypes.POINTER(Decoder), ctypes.POINTER(Step)]
    found.foveal_product.argtypes = [pointer, ctypes.POINTER(Matrix), pointer, integer, pointer]
    return found
