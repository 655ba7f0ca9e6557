"""The compiled code of this folder: which build this CPU can run, and the structs that it takes (records.h).

Knows nothing of decoders. Where no build is there, `library()` is None, and torch computes every step.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import ClassVar

FOLDER = Path(__file__).parent
CPUINFO = Path("/proc/cpuinfo")
# The builds of hatch_build.py, best first, and what the kernel must list of the CPU for each.
NEEDS = {
    "avx512vnni": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd", "avx512_vnni"},
    "avx512": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd"},
    "avx2": {"avx2", "fma", "bmi2", "f16c"},
    "base": set[str](),
}

log = logging.getLogger(__name__)

SILU, GELU, GELU_TANH = range(3)
# The forms of a matrix: of quantised.h, in its order, and plain numbers.
BLOCK_TYPES = ("Q4_0", "Q8_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")
OWN_TYPES = ("F8", "E2M1", "NF4", "U4")  # of blocks.h, for what GGUF has no type
INT8, Q4_0, Q8_0, FLOAT32 = 0, 1, 2, 1 + len(BLOCK_TYPES + OWN_TYPES)


class Matrix(ctypes.Structure):
    """Of quantised.h; in the form FLOAT32 it has no scale and no limit."""

    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("weight", "scale", "bias")),
        *((name, ctypes.c_int64) for name in ("out", "in_", "form", "limit")),
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
        ("activation", ctypes.c_int64),
        ("eps", ctypes.c_float),
        ("query_scale", ctypes.c_float),
        ("norm", ctypes.c_void_p),
    ]


class Step(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("x", "kv_cache", "cos", "sin", "starts", "block_tables")),
        *((name, ctypes.c_void_p) for name in ("sequences", "begins", "stops", "slots")),
        *((name, ctypes.c_int64) for name in ("num_rows", "num_sequences", "max_blocks")),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """The best build that this CPU can run; None where there is none."""
    flags = set(CPUINFO.read_text("utf-8").split())
    for name, needed in NEEDS.items():
        if needed <= flags and (found := loaded(FOLDER / f"libfoveal-{name}.so.1")):
            return found
    log.info("this installation has no native code, so torch computes everything, more slowly")
    return None


@cache
def pool(num_threads: int) -> int:
    """The threads of the native code, one pool in a process. Raises MemoryError."""
    found = library()
    assert found is not None
    started: int | None = found.foveal_pool(num_threads)
    if started is None:
        raise MemoryError
    return started


def loaded(file: Path) -> ctypes.CDLL | None:
    """The library in `file`, if it is there, can be loaded, and was built of the source beside it."""
    try:
        found = ctypes.CDLL(str(file))
    except OSError:
        return None
    found.foveal_source.restype = ctypes.c_char_p
    if found.foveal_source() != source_hash().encode():
        log.warning("%s was built of another source and is not used: install Foveal again", file.name)
        return None
    found.foveal_pool.restype, found.foveal_pool.argtypes = ctypes.c_void_p, [ctypes.c_int]
    found.foveal_prefill.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    found.foveal_step.argtypes = [ctypes.c_void_p, ctypes.POINTER(Decoder), ctypes.POINTER(Step)]
    numbers = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64  # where they lie, rows, distance of rows
    found.foveal_product.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *numbers, ctypes.c_void_p, ctypes.c_int64]
    return found


def source_hash() -> str:
    """Of the C files, as hatch_build.py computes it."""
    files = sorted(file for file in FOLDER.iterdir() if file.suffix in (".c", ".h"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
