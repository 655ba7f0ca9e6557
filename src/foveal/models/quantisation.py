"""Which quantised files can be read, by what their settings say. What they hold is told by their tensors.

Imports no torch: the server refuses a file before an engine starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveal.errors import CheckpointError
from foveal.models.bounds import shown
from foveal.models.checkpoint import Settings

if TYPE_CHECKING:
    from foveal.models.checkpoint import Checkpoint

Only = dict[str, tuple[Any, ...]]  # a setting -> the values that can be read; a missing one is None

FORMATS = (
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "pack-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp8-quantized",
)
GGUF = "gguf"  # a folder that was made of GGUF files (models/gguf/folder.py)
METHODS: dict[str, Only] = {
    "awq": {"bits": (4,), "version": (None, "gemm", "GEMM")},
    "bitsandbytes": {},
    "compressed-tensors": {"format": (*FORMATS, "mixed-precision")},
    "fbgemm_fp8": {},
    "fp8": {},
    GGUF: {},
    "gptq": {"bits": (2, 4, 8), "checkpoint_format": (None, "gptq", "gptq_v2")},
    "modelopt": {"quant_algo": ("FP8", "NVFP4")},
}
OF_GROUPS: Only = {"format": (None, *FORMATS)}  # of compressed-tensors' groups of layers


def check_quantisation(checkpoint: Checkpoint) -> None:
    """Raises CheckpointError, in a sentence that names the setting, for a file that cannot be read."""
    settings = checkpoint.quantisation
    if not settings:
        return
    method = settings.get("quant_method", "an unnamed method")
    if method not in METHODS:
        raise CheckpointError(
            f"{checkpoint.folder} holds weights quantised by {shown(method)}, which cannot be read; these can: "
            f"{', '.join(METHODS)}"
        )
    _check(settings, METHODS[method])
    if method == "compressed-tensors":
        _check_compressed(settings)


def _check_compressed(settings: Settings) -> None:
    sparsity = settings.get("sparsity_config") or {}
    if sparsity.get("format", "dense") != "dense":
        raise CheckpointError(f"{settings.place}: sparse weights ({shown(sparsity['format'])}) cannot be read")
    if (settings.get("transform_config") or {}).get("config_groups"):
        raise CheckpointError(f"{settings.place}: transform_config is not implemented")
    for name, group in (settings.get("config_groups") or {}).items():
        if not isinstance(group, Settings):
            raise CheckpointError(f"{settings.place}: {name} of config_groups is {shown(group)}; it must be an object")
        _check(group, OF_GROUPS)


def _check(settings: Settings, only: Only) -> None:
    for name, known in only.items():
        if settings.get(name) not in known:
            raise CheckpointError(
                f"{settings.place}: {name} is {shown(settings.get(name))}; these can be read: "
                f"{', '.join(str(value) for value in known if value is not None)}"
            )
