"""The fastest dtype of a device. CPUs without bfloat16 instructions take thirty times as long for it as for float32."""

import torch

from foveal.engine.machine import cpu_bfloat16


def precision(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU and on CPUs where it is faster, float32 on other CPUs."""
    return torch.bfloat16 if device.type == "cuda" or cpu_bfloat16() == "fast" else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """A context in which matrix products use `precision`; off for float32."""
    dtype = precision(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
