"""Every family, as a tiny random checkpoint made by the reference library, with what tests need to ask it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import transformers

from tests.parity.references import TEXT, Reference, reference, save_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.models.family import CropRange

Make = Callable[["Path", int], Reference]


@dataclass(frozen=True)
class Family:
    """make: write a checkpoint of some seed. The rest says how the reference's processor is spoken to."""

    make: Make
    image_token: str  # what stands for an image in its text
    pixels: Callable[[Any, CropRange], torch.Tensor]  # what our model's tower sees of an image, float32
    reference_pixels: Callable[[dict[str, torch.Tensor]], torch.Tensor]  # the same of the only image, as it says
    arguments: dict[str, Any] = field(default_factory=dict)  # of its call


def mllama(folder: Path, seed: int) -> Reference:
    tokenizer = save_tokenizer(folder, ("<|image|>", "<|python_tag|>"))
    config = transformers.MllamaConfig(
        text_config={**TEXT, "num_hidden_layers": 5, "cross_attention_layers": [1, 3], "vocab_size": 261},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 4,
            "num_global_layers": 2,
            "attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "intermediate_layers_indices": [0, 2],
            "vision_output_dim": 48,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
    )
    images = transformers.MllamaImageProcessorPil(size={"height": 28, "width": 28})
    images.save_pretrained(folder)
    made = reference(folder, transformers.MllamaForConditionalGeneration, config, seed)
    for layer in made.model.model.language_model.layers:
        _mask_rows_that_see_nothing(layer)
    return made.with_processor(transformers.MllamaProcessor(images, tokenizer))


def _mask_rows_that_see_nothing(layer: torch.nn.Module) -> None:
    """As Meta's code does, and transformers does for the MLP alone (see foveal.models.mllama.model)."""
    attention = getattr(layer, "cross_attn", None)
    if not isinstance(attention, torch.nn.Module):
        return
    masks: list[Any] = []

    def note(_: object, args: object, kwargs: dict[str, Any]) -> None:
        masks[:] = [kwargs["full_text_row_masked_out_mask"]]

    def mask(_: object, args: object, output: tuple[torch.Tensor, Any]) -> tuple[torch.Tensor, Any]:
        return (output[0] if masks[0] is None else output[0] * masks[0][:, 0], output[1])

    layer.register_forward_pre_hook(note, with_kwargs=True)
    attention.register_forward_hook(mask)


FAMILIES = {
    "mllama": Family(
        mllama,
        "<|image|>",
        lambda model, item: model.tiles(item),
        lambda inputs: inputs["pixel_values"][0, 0][: int(inputs["aspect_ratio_mask"].sum())],
    ),
}
