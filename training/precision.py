"""What a device multiplies fast: on a CPU without bfloat16 instructions that takes thirty times as long as float32."""

import torch

from foveal.engine.machine import cpu_bfloat16


def precision(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU and on CPUs where it is the faster, float32 on others."""
    return torch.bfloat16 if device.type == "cuda" or cpu_bfloat16() == "fast" else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """Matrix products in `precision`; float32 needs no casts."""
    dtype = precision(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
