"""Starts a run from the weights of an exported model folder, adapted to this run's sizes.

Positions of the tower are interpolated to another number of patches. Vocabulary rows are assigned by token; a new token
gets the row of the same word after a space, or else the mean of the old tokens of its text. Layers that the folder
lacks begin as the identity. All other tensors must have the same shape.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from training.model import Phi3V
from training.tokenizer import SPACE

POSITIONS = "model.vision_embed_tokens.img_processor.vision_model.embeddings.position_embedding.weight"
ADDED = ("out_proj", "fc2", "o_proj", "down_proj")  # the matrices whose outputs a layer adds to its input
VOCABULARY = ("model.embed_tokens.weight", "lm_head.weight")


def start_from(model: Phi3V, tokenizer: Tokenizer, folder: Path) -> None:
    """Load the weights. Raises RuntimeError that names each tensor with another shape."""
    weights = {name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()}
    weights[POSITIONS] = interpolated(weights[POSITIONS], model.config.patches_per_side)
    old = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for name in VOCABULARY:
        weights[name] = carried_over(weights[name], old, tokenizer, model.config.vocab_size)
    model.load_state_dict(model.state_dict() | _idle(model, weights) | weights)


def _idle(model: Phi3V, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Zero weights for the ADDED matrices of new layers."""
    new = {name: weight for name, weight in model.state_dict().items() if name not in weights}
    if strange := [name for name in new if ".layers." not in name]:
        raise RuntimeError(f"not in the model folder: {', '.join(strange)}")
    return {name: torch.zeros_like(weight) for name, weight in new.items() if name.split(".")[-2] in ADDED}


def interpolated(positions: Tensor, side: int) -> Tensor:
    """[1 + old * old, C] -> [1 + side * side, C]: the class token's stays, the grid is resized."""
    old_side = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].T.reshape(1, -1, old_side, old_side)
    resized = F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], resized.flatten(2)[0].T])


def carried_over(rows: Tensor, old: Tokenizer, new: Tokenizer, size: int) -> Tensor:
    """[old vocabulary, D] -> [size, D]; rows without a token of the new tokenizer are the mean of all."""
    vocabulary = old.get_vocab()
    carried = []
    for token, number in sorted(new.get_vocab().items(), key=lambda entry: entry[1]):
        known = next((way for way in (token, SPACE + token.lower()) if way in vocabulary), None)
        ids = [vocabulary[known]] if known else old.encode(new.decode([number])).ids
        carried.append(rows[ids].mean(0))
    rest = rows.mean(0).expand(size - len(carried), -1)
    return torch.cat([torch.stack(carried), rest])
