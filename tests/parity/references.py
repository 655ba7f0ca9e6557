"""The reference library's models, tiny and random, written as checkpoints in the published layout.

What they answer is what ours must answer: float32, eager attention, on CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerFast, logging

from foveal.models.registry import load_model
from tests.builders import byte_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from foveal.models.family import Model

logging.set_verbosity_error()
logging.disable_progress_bar()

TEXT = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


BUFFERS = ("layer_scalar", "std_bias", "std_scale")  # of Gemma 4; they are saved, but are no parameters

CLIPS = ("input_min", "input_max", "output_min", "output_max")


@dataclass(frozen=True)
class Reference:
    """A reference model and ours, of one checkpoint."""

    folder: Path
    model: PreTrainedModel
    ours: Model
    processor: Any = None

    def with_processor(self, processor: Any) -> Reference:
        return replace(self, processor=processor)


def reference(folder: Path, model_class: type[PreTrainedModel], config: Any, seed: int = 0) -> Reference:
    """Make, fill and save a reference model, and load ours from its files."""
    model = model_class._from_config(config, attn_implementation="eager").eval()
    fill(model, seed)
    model.save_pretrained(folder)
    return Reference(folder, model, load_model(folder, torch.device("cpu"), torch.float32))


def fill(model: PreTrainedModel, seed: int) -> None:
    """Random weights at scales at which every input still moves the output; norms, gates and biases are not neutral."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            if "norm" in name or "ln_q" in name:
                around = weight.mean().round()  # the neutral value: one, or zero where one is added
                weight.copy_(around * name.endswith("weight") + 0.1 * drawn)
            elif weight.ndim < 2 or "embed" in name:
                weight.copy_(drawn)
            else:
                weight.copy_(drawn / weight[0].numel() ** 0.5)
        for name, number in model.named_buffers():
            if name.endswith(BUFFERS):
                number.copy_(number + 0.1 * torch.randn(number.shape, generator=generator))
            if name.endswith(CLIPS):
                number.copy_(number.sign() * (1 + torch.rand(number.shape, generator=generator)))


def save_tokenizer(folder: Path, special_tokens: tuple[str, ...], **named: Any) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with BOS, as the reference's processors want it; returned as they want it."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(special_tokens), bos_token="<s>", eos_token="</s>", pad_token="<unk>", **named
    )
    tokenizer.save_pretrained(folder)
    return tokenizer
