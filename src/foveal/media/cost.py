"""How long decoding will take, estimated from the size and the scans. A pure function; knows no processes.

Fitted to nine kinds of picture of 16 million pixels. They took 3 to 47 ns a pixel, and a progressive JPEG 1 to 5 ns for
each further scan.
"""

from __future__ import annotations

from foveal.types import Size

_PIXEL_S = 30e-9
_SCAN_S = 5e-9  # a pixel, for each scan of a JPEG beyond the first
_JPEG = b"\xff\xd8"
_START_OF_SCAN = b"\xff\xda"  # pixels never look like it; a thumbnail adds one


def decode_cost_s(size: Size, encoded: bytes = b"") -> float:
    """`encoded`: without it, a picture of one scan is assumed."""
    num_more_scans = max(0, encoded.count(_START_OF_SCAN) - 1) if encoded.startswith(_JPEG) else 0
    return size.width * size.height * (_PIXEL_S + _SCAN_S * num_more_scans)
