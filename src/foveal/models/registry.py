"""The model families: model_type -> folder. Imports a family only when a checkpoint needs it.

Importing this module imports no torch, so that the server and the image workers can load processors with it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from foveal.layers.linear.form import Policy, all_plain
from foveal.models.checkpoint import Checkpoint
from foveal.models.family import Described
from foveal.models.generic.types import check_type
from foveal.models.implemented import check_implemented
from foveal.models.quantisation import GGUF

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from foveal.layers.linear.form import Packed
    from foveal.layers.linear.kept import KeptMatrices
    from foveal.models.family import Model, Processor
    from foveal.models.gguf.tensors import GgufTensors
    from foveal.models.weights import CheckpointTensors
    from foveal.types import OnProgress

FAMILIES = {  # model_type in config.json -> folder beside this file
    "gemma3": "gemma3",
    "gemma3_text": "text",
    "gemma4": "gemma4",
    "gemma4_text": "gemma4",
    "gemma4_unified": "gemma4",
    "gemma4_unified_text": "gemma4",
    "granite": "text",
    "idefics3": "idefics3",
    "internvl": "internvl",
    "llama": "text",
    "llava": "llava",
    "llava_next": "llava",
    "mistral": "text",
    "mllama": "mllama",
    "phi3": "text",
    "phi3_v": "phi3_v",
    "qwen2": "text",
    "qwen2_5_vl": "qwen2_vl",
    "qwen2_vl": "qwen2_vl",
    "qwen3": "text",
    "qwen3_5": "qwen2_vl",
    "qwen3_5_moe": "qwen2_vl",
    "qwen3_5_moe_text": "text",
    "qwen3_5_text": "text",
    "qwen3_vl": "qwen2_vl",
    "smolvlm": "idefics3",
}


def load_processor(folder: Path | str) -> Processor | None:
    """The processor of the checkpoint in `folder`; None for a model without images. Raises CheckpointError."""
    checkpoint = Checkpoint.read(Path(folder))
    module = import_module(f"foveal.models.{family_of(checkpoint)}.processor")
    return cast("Processor | None", module.load(checkpoint))


def load_worker_processor(folder: Path | str) -> Processor | None:
    """The same in an image worker, with all that it will need: a worker limits its memory after that."""
    processor = load_processor(folder)
    getattr(processor, "get_ready", lambda: None)()
    return processor


def described(processor: Processor | None) -> Described | None:
    """What the processor's library knows of the checkpoint; None where its files and our configs say all."""
    found = getattr(processor, "described", None)
    return found if isinstance(found, Described) else None


def load_model(
    folder: Path | str,
    device: torch.device,
    dtype: torch.dtype,
    on_progress: OnProgress = lambda share: None,
    policy: Policy = all_plain,
    kept: KeptMatrices | None = None,
) -> Model:
    """The model of the checkpoint in `folder`, its weights on `device` in `dtype`. Raises CheckpointError.

    policy: chooses the form of each weight matrix. kept: quantised matrices of an earlier start.
    """
    from foveal.layers.linear.load import Weights

    checkpoint = Checkpoint.read(Path(folder))
    module = import_module(f"foveal.models.{family_of(checkpoint)}.model")
    tensors, packed = _tensors(checkpoint, device, dtype, on_progress)
    model = cast("Model", module.load(checkpoint, Weights(tensors, policy, kept=kept, packed=packed)))
    if kept is None or not kept.is_complete:
        tensors.note_unread()
    on_progress(1.0)
    return model


def _tensors(
    checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, on_progress: OnProgress
) -> tuple[CheckpointTensors | GgufTensors, Callable[[str], Packed | None] | None]:
    """The tensors of its files, and what finds the packed matrix of a name."""
    from foveal.layers.linear.packed.readers import packed_matrices
    from foveal.models.gguf.tensors import GgufTensors
    from foveal.models.weights import CheckpointTensors

    if checkpoint.quantisation.get("quant_method") == GGUF:
        mapped = GgufTensors(checkpoint, device, dtype, on_progress)
        return mapped, mapped.packed
    tensors = CheckpointTensors(checkpoint.folder, device, dtype, on_progress)
    return tensors, packed_matrices(checkpoint.quantisation, tensors, dtype, device)


def family_of(checkpoint: Checkpoint) -> str:
    """The folder of the checkpoint's family.

    Raises CheckpointError for an unknown model type, and for a setting that changes numbers and is not implemented.
    """
    if checkpoint.model_type not in FAMILIES:
        check_type(checkpoint, FAMILIES)
        return "generic"
    check_implemented(checkpoint)
    return FAMILIES[checkpoint.model_type]
