"""Any model of transformers, in the engine: a decoder and an image side over its modules.

Letters: T rows of a step, R position rows, P tokens that stand for an image, W decoder width, E feature sets of an
image. One replaces the tokens' embeddings, the others (DeepStack) are added after the decoder's first layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from foveal.errors import CheckpointError
from foveal.layers.pieces import at_once
from foveal.layers.step import KVShape, Positions
from foveal.models.family import ImageTraits, Model
from foveal.models.features import place_feature_sets
from foveal.models.generic.check import check
from foveal.models.generic.facts import Facts, decode
from foveal.models.generic.modules import Modules, accepted, load_modules
from foveal.models.generic.pictures import short
from foveal.models.generic.types import TWO_WAY

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from foveal.layers.linear.load import Weights
    from foveal.layers.pieces import Pieces
    from foveal.layers.step import StateShape, StepContext
    from foveal.models.checkpoint import Checkpoint
    from foveal.models.family import CropRange
    from foveal.types import ImageLayout, Prompt


ATTENTIONS = ("full_attention", "sliding_attention")  # kinds of layers


@dataclass(frozen=True, slots=True, eq=False)
class TransformersDecoder:
    """`foveal.models.family.Decoder`."""

    modules: Modules
    kv_shape: KVShape
    vocab_size: int
    max_model_len: int
    state_shapes: ClassVar[tuple[StateShape, ...]] = ()

    @classmethod
    def of(cls, modules: Modules) -> TransformersDecoder:
        """Raises CheckpointError where layers differ in what one cache cannot hold."""
        layers, config = modules.layers, modules.text_config
        if len(layers) != config.num_hidden_layers:
            raise CheckpointError(
                f"{len(layers)} of its decoder's {config.num_hidden_layers} layers attend through transformers' "
                "attention interface; the others keep a state of their own, which the engine cannot"
            )
        kinds = getattr(config, "layer_types", None) or ["full_attention"] * len(layers)
        for kind, layer in zip(kinds, layers, strict=True):
            if kind not in ATTENTIONS or (kind == "sliding_attention") != (layer.window is not None):
                raise CheckpointError(f"its decoder has {kind} layers, which are not implemented")
        if len({layer.num_kv_heads for layer in layers}) > 1:
            raise CheckpointError("its decoder's layers differ in their numbers of heads, which is not implemented")
        shape = KVShape(len(layers), layers[0].num_kv_heads, max(layer.head_dim for layer in layers))
        vocab_size = modules.logits(modules.embed(torch.zeros(1, dtype=torch.long, device=modules.device))).shape[-1]
        return cls(modules, shape, vocab_size, config.max_position_embeddings)

    @property
    def windows(self) -> tuple[int | None, ...]:
        return tuple(dict.fromkeys(layer.window for layer in self.modules.layers))

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        """As the type's own function counts them, where it has one."""
        count = self.modules.rope_index
        if count is None:
            return Positions(np.arange(len(prompt.token_ids))[np.newaxis])
        images = [decode(image.image.layout.facts) for image in prompt.images]
        token_ids = torch.tensor(prompt.token_ids)[None]
        kinds = torch.zeros_like(token_ids)
        for image in prompt.images:
            for span in image.spans:
                kinds[:, span.offset : span.end] = 1
        asked = {"input_ids": token_ids, "mm_token_type_ids": kinds, **joined([facts.known() for facts in images])}
        positions_R1T, deltas = count(**accepted(count, asked))
        return Positions(positions_R1T[:, 0].numpy(), delta=int(deltas.flatten()[0]))

    def embed(self, token_ids_T: Tensor) -> Tensor:
        return self.modules.embed(token_ids_T)

    def decode(self, x_TW: Tensor, step: StepContext) -> Tensor:
        width, windows = self.kv_shape.head_dim, [layer.window for layer in self.modules.layers]

        def wide(x: Tensor) -> Tensor:
            return F.pad(x, (0, width - x.shape[-1])) if x.shape[-1] < width else x

        def attend_layer(number: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
            """Heads are filled up with zeros to the width of the cache, which changes no score."""
            attend, kv_layer = step.attends[windows[number]], step.kv_cache[number]
            return attend(wide(query), wide(key), wide(value), kv_layer, scale)[..., : value.shape[-1]]

        return self.modules.run(x_TW, step.positions_RT, attend_layer, step.after_layer)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.modules.logits(hidden).float()


def joined(of_images: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """The arrays of several images, one after the other."""
    names = dict.fromkeys(name for arrays in of_images for name in arrays)
    return {name: torch.cat([torch.from_numpy(arrays[name]) for arrays in of_images]) for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class TransformersImages:
    """`foveal.models.family.ImageSide`."""

    modules: Modules
    traits: ImageTraits
    place = staticmethod(place_feature_sets)

    def encode_crops(self, work: Sequence[CropRange]) -> Pieces[list[Tensor]]:
        """[1, P, E W] for each image, which is always whole. It is one piece: transformers cannot be interrupted."""
        read = [(decode(item.layout.facts), item.pixels.cpu().numpy()) for item in work]
        inputs = [(facts, facts.with_pixels(pixels)) for facts, pixels in read]
        yield
        return [self.features(facts, arrays)[None] for facts, arrays in inputs]

    def features(self, facts: Facts, arrays: dict[str, Any]) -> Tensor:
        """[P, E W]"""
        device, dtype = self.modules.device, self.modules.dtype
        placed = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        inputs = {name: x.to(dtype) if x.is_floating_point() else x for name, x in placed.items()}
        token_ids = torch.tensor(facts.token_ids, device=device)
        given = self.modules.given(token_ids, inputs, facts.feature_ids)
        rows = torch.cat([torch.arange(span.offset, span.end, device=device) for span in facts.spans])
        sets = [given["inputs_embeds"][0, rows], *(given.get("deepstack_visual_embeds") or ())]
        return torch.cat(sets, dim=1)

    def assemble(self, layout: ImageLayout, crops: Tensor) -> Pieces[Tensor]:
        return at_once(crops[0])


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    """Raises CheckpointError, with a sentence, for what cannot be served, and where the check fails."""
    try:
        modules = load_modules(checkpoint, weights.tensors)
        traits = ImageTraits(splits_images=False, whole_spans=checkpoint.model_type in TWO_WAY)
        model = Model(TransformersDecoder.of(modules), TransformersImages(modules, traits))
        check(model, modules, checkpoint.folder)
    except CheckpointError:
        raise
    except Exception as error:  # transformers raises anything
        raise CheckpointError(
            f"{checkpoint.folder} cannot be served by transformers' modules: {short(error)}"
        ) from error
    return model
