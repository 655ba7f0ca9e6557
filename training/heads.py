"""The heads that predict the targets of targets.py, in training only, and the file that keeps them for later runs.

The exported model has no heads. A run that starts from its weights without this file would begin with random heads.
Their gradients would damage the tower until they are learned again.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.model import DenseHead, ModelConfig
from training.targets import CHOICES, MEASURES, NAME_CHOICES

HEADS = ("patch", "joined", "asked", "said")  # about patches, 2x2 of them, names in questions, names in answers


def dense_heads(config: ModelConfig) -> nn.ModuleList:
    """One for each of HEADS."""
    return nn.ModuleList(
        [
            DenseHead(config.vision_width, CHOICES, len(MEASURES)),
            DenseHead(config.width, CHOICES, len(MEASURES), is_joined=True),
            DenseHead(config.width, NAME_CHOICES, len(MEASURES)),
            DenseHead(config.width, NAME_CHOICES, len(MEASURES)),
        ]
    )


def save_heads(heads: nn.ModuleList, file: Path) -> None:
    """Saves weights in bfloat16, those of each choice under its name."""
    found: dict[str, Tensor] = {
        f"{name}.norm.{part}": weight for name, head in _named(heads) for part, weight in head.norm.named_parameters()
    }
    for name, head in _named(heads):
        for choice, (weights, biases) in head.parts().items():
            found |= {f"{name}.{choice}.weight": weights, f"{name}.{choice}.bias": biases}
    save_file({name: tensor.detach().bfloat16().contiguous() for name, tensor in found.items()}, file)
    file.chmod(0o644)  # safetensors lets only the owner read its files


@torch.no_grad()
def load_heads(heads: nn.ModuleList, file: Path) -> None:
    """Loads the choices that the file has; newer choices and answers keep their weights."""
    saved = load_file(file)
    for name, head in _named(heads):
        for part, weight in head.norm.named_parameters():
            weight.copy_(saved[f"{name}.norm.{part}"])
        for choice, (weights, biases) in head.parts().items():
            if f"{name}.{choice}.weight" in saved:
                answers = min(weights.shape[1], saved[f"{name}.{choice}.weight"].shape[1])
                weights[:, :answers] = saved[f"{name}.{choice}.weight"][:, :answers]
                biases[:, :answers] = saved[f"{name}.{choice}.bias"][:, :answers]


def _named(heads: nn.ModuleList) -> list[tuple[str, DenseHead]]:
    return [(name, head) for name, head in zip(HEADS, heads, strict=True) if isinstance(head, DenseHead)]
