"""The types of numbers in GGUF files: plain ones, and blocks of 32 or 256 weights, our own too. Imports no torch."""

from __future__ import annotations

from typing import NamedTuple


class StoredType(NamedTuple):
    name: str
    block_weights: int
    block_bytes: int


# By the number that stands for the type in a file.
TYPES = {
    0: StoredType("F32", 1, 4),
    1: StoredType("F16", 1, 2),
    2: StoredType("Q4_0", 32, 18),
    3: StoredType("Q4_1", 32, 20),
    6: StoredType("Q5_0", 32, 22),
    7: StoredType("Q5_1", 32, 24),
    8: StoredType("Q8_0", 32, 34),
    10: StoredType("Q2_K", 256, 84),
    11: StoredType("Q3_K", 256, 110),
    12: StoredType("Q4_K", 256, 144),
    13: StoredType("Q5_K", 256, 176),
    14: StoredType("Q6_K", 256, 210),
    20: StoredType("IQ4_NL", 32, 18),
    23: StoredType("IQ4_XS", 256, 136),
    30: StoredType("BF16", 1, 2),
}
PLAIN = ("F32", "F16", "BF16")
OWN = (StoredType("F8", 32, 36), StoredType("E2M1", 32, 22), StoredType("NF4", 32, 20), StoredType("U4", 32, 20))
BY_NAME = {kind.name: kind for kind in (*TYPES.values(), *OWN)}
