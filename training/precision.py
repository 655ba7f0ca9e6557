"""What a device multiplies fast: on a CPU without bfloat16 instructions that takes thirty times as long as float32."""

from functools import cache

import torch

from foveal.engine.loading import this_machine


@cache
def precision(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU and on CPUs that have it, float32 on others."""
    return torch.bfloat16 if device.type == "cuda" or this_machine().has_bfloat16 else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """Matrix products in `precision`; float32 needs no casts."""
    dtype = precision(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
