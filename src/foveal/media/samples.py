"""What deep samples mean: numbers of any type -> 8 bits. Pure functions on arrays; knows no file formats.

A picture of more than 8 bits says nowhere which number is white. Unsigned 16 bits are taken in full. Other types are
used for several ranges, so the picture chooses: the smallest range that holds all but a thousandth of its samples. What
lies beyond is white, below zero black. So one odd sample turns no picture black.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ODD = 0.001  # the share of samples that may lie beyond the range
_BAND = 256  # rows
_HEADROOM = 2.0  # floats of up to one stop above 1.0 are light, not levels of 0..255


@dataclass(frozen=True, slots=True)
class Rule:
    """`whites`: numbers that may be white, ascending. `opaque`: the number that is, in an alpha channel."""

    whites: tuple[float, ...]
    opaque: float


_FLOAT = Rule((1.0, 255.0, 65535.0), 1.0)
RULES = {  # u: unsigned, i: signed, f: float; and the bits
    "u8": Rule((255.0,), 255.0),
    "u16": Rule((65535.0,), 65535.0),
    "u32": Rule((255.0, 65535.0, 2.0**32 - 1), 2.0**32 - 1),
    "i8": Rule((127.0,), 127.0),
    "i16": Rule((255.0, 32767.0), 32767.0),
    "i32": Rule((255.0, 65535.0, 2.0**31 - 1), 2.0**31 - 1),
    "f16": _FLOAT,
    "f32": _FLOAT,
    "f64": _FLOAT,
}


def shown(
    colours: NDArray[Any],
    alpha: NDArray[Any] | None,
    rule: Rule,
    *,
    is_white_low: bool = False,
    is_premultiplied: bool = False,
) -> Image.Image:
    """Samples [height, width, 1 or 3] and alpha [height, width] -> RGB, on white."""
    white, levels = _white(colours, rule), np.empty(colours.shape, np.uint8)
    for start in range(0, len(colours), _BAND):  # in bands, since floats of a whole picture take a gigabyte
        band = slice(start, start + _BAND)
        light = _share(colours[band], white)
        if is_white_low:
            light = 1.0 - light
        if alpha is not None:
            cover = _share(alpha[band], rule.opaque)[..., None]
            light = (light if is_premultiplied else light * cover) + (1.0 - cover)
        levels[band] = np.clip(light, 0.0, 1.0) * 255.0 + 0.5
    return Image.fromarray(levels) if colours.shape[2] == 3 else Image.fromarray(levels[..., 0]).convert("RGB")


def _white(samples: NDArray[Any], rule: Rule) -> float:
    if len(rule.whites) == 1:
        return rule.whites[0]
    finite = samples[np.isfinite(samples)] if samples.dtype.kind == "f" else samples.reshape(-1)
    if not finite.size:
        return rule.whites[0]
    rank = finite.size - 1 - int(finite.size * _ODD)
    peak = float(np.partition(finite, rank, axis=None)[rank])
    if rule is _FLOAT and peak <= _HEADROOM:
        return rule.whites[0]
    return next((white for white in rule.whites if peak <= white), peak)


def _share(samples: NDArray[Any], white: float) -> NDArray[np.float32]:
    """0 to 1, black to white. What is no number is black."""
    with np.errstate(over="ignore", invalid="ignore"):
        share = samples.astype(np.float32)
    np.clip(share / np.float32(white), 0.0, 1.0, out=share)
    share[np.isnan(share)] = 0.0
    return share
