"""A model of transformers as modules: its decoder apart from the rest, and attention of ours in the decoder.

What is asked of the rest is asked of the whole model's own forward while the decoder is held still. What the decoder is
given holds the features of images, and what the forward makes of the decoder's hidden states are the logits. So
nothing of a type's own arithmetic is written here a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import AttentionInterface
from transformers.modeling_outputs import BaseModelOutputWithPast

from foveal.errors import CheckpointError
from foveal.models.generic.pictures import OWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from foveal.layers.step import AfterLayer
    from foveal.models.checkpoint import Checkpoint

    AttendLayer = Callable[[int, Tensor, Tensor, Tensor, float], Tensor]

OURS = "foveal"  # our attention, by the name that transformers knows it by
UNKNOWN = ("mask", "softcap", "s_aux")  # what a layer may ask of attention and ours cannot do


@dataclass
class Held(BaseModelOutputWithPast):  # type: ignore[misc]
    """What a decoder returns that is held still: hidden states, and nothing of all else that may be asked for."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer's attention, as the layer itself called for it."""

    num_kv_heads: int
    head_dim: int
    window: int | None


@dataclass(slots=True, eq=False)
class Modules:
    """whole: the model. decoder: the part of it that has the text's layers."""

    whole: Any
    decoder: Any
    layers: list[LayerShape] = field(default_factory=list)
    attend: AttendLayer | None = None  # of the step that is being computed
    after_layer: AfterLayer | None = None

    @property
    def text_config(self) -> Any:
        return self.decoder.config

    @property
    def device(self) -> torch.device:
        return self.whole.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return self.whole.dtype  # type: ignore[no-any-return]

    @property
    def rope_index(self) -> Callable[..., tuple[Tensor, Tensor]] | None:
        """The type's own function for positions of several rows."""
        found = (getattr(owner, "get_rope_index", None) for owner in (self.whole, self.whole.base_model))
        return next(filter(None, found), None)

    def embed(self, token_ids: Tensor) -> Tensor:
        """[T] -> [T, W]. Placeholders may lie beyond the table; features replace what is looked up for them."""
        table = self.whole.get_input_embeddings()
        return table(torch.where(token_ids < table.num_embeddings, token_ids, 0))  # type: ignore[no-any-return]

    def given(self, token_ids: Tensor, inputs: Mapping[str, Tensor], feature_ids: tuple[int, ...]) -> dict[str, Any]:
        """What the whole model gives its decoder for a prompt of token ids and images."""
        with self._held() as seen:
            self.forward(token_ids, inputs, feature_ids)
        return seen

    def forward(self, token_ids: Tensor, inputs: Mapping[str, Tensor], feature_ids: tuple[int, ...]) -> Tensor:
        """The logits of the whole model's own forward: [T, vocabulary]."""
        kinds = torch.isin(token_ids, torch.tensor(feature_ids, device=token_ids.device)).long()
        of_text = {"input_ids": token_ids[None], "mm_token_type_ids": kinds[None]}
        return self.whole(**accepted(self.whole, {**of_text, **inputs, "use_cache": False})).logits[0]  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """[rows, W] -> [rows, vocabulary]"""
        with self._held():
            return self.whole(inputs_embeds=hidden[None], use_cache=False).logits[0]  # type: ignore[no-any-return]

    def run(self, x_TW: Tensor, positions_RT: Tensor, attend: AttendLayer, after_layer: AfterLayer | None) -> Tensor:
        """The decoder's hidden states [T, W] with our attention."""
        self.attend, self.after_layer = attend, after_layer
        positions = positions_RT if len(positions_RT) == 1 else positions_RT[:, None]
        try:
            return self.decoder(inputs_embeds=x_TW[None], position_ids=positions, use_cache=False)[0][0]  # type: ignore[no-any-return]
        finally:
            self.after_layer = None

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Attention as transformers has it, for comparisons."""
        config = self.text_config
        config._attn_implementation = "eager"
        try:
            yield
        finally:
            config._attn_implementation = OURS

    @contextmanager
    def _held(self) -> Iterator[dict[str, Any]]:
        """The decoder returns what it is given, which is noted."""
        seen: dict[str, Any] = {}

        def forward(*args: Any, **given: Any) -> Held:
            seen.update(given)
            return Held(last_hidden_state=given["inputs_embeds"])

        self.decoder.forward = forward
        try:
            yield seen
        finally:
            del self.decoder.forward

    def find_layers(self) -> None:
        """Have the decoder run once, and note what its layers ask of attention. Raises CheckpointError."""
        found: list[nn.Module] = []

        def trial(
            module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **asked: Any
        ) -> tuple[Tensor, None]:
            if unknown := [name for name in UNKNOWN if {**asked, "mask": mask}.get(name) is not None]:
                raise CheckpointError(f"its attention needs a {unknown[0]} of its own, which is not implemented")
            found.append(module)
            head_dim = max(key.shape[-1], value.shape[-1])
            self.layers.append(LayerShape(key.shape[1], head_dim, asked.get("sliding_window")))
            return query.new_zeros((1, query.shape[2], query.shape[1], value.shape[-1])), None

        AttentionInterface.register(OURS, trial)
        self.text_config._attn_implementation = OURS
        try:
            x_TW = self.embed(torch.arange(3, device=self.whole.device))
            self.decoder(inputs_embeds=x_TW[None], use_cache=False)
        finally:
            AttentionInterface.register(OURS, _attention)
        if len({id(module) for module in found}) != len(found):
            raise CheckpointError("a layer of its decoder attends twice")
        for number, module in enumerate(found):
            module.foveal = (self, number)  # type: ignore[assignment]  # a tuple is no submodule
        for number, layer in enumerate(getattr(self.decoder, "layers", ())):
            layer.register_forward_hook(partial(self._after, number))

    def _after(self, number: int, layer: nn.Module, inputs: Any, output: Any) -> Any:
        if self.after_layer is None:
            return None
        if isinstance(output, tuple):
            return self.after_layer(number, output[0][0])[None], *output[1:]
        return self.after_layer(number, output[0])[None]


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float | None = None, **_: Any
) -> tuple[Tensor, None]:
    """What transformers calls for attention: [1, H, T, D] -> [1, T, H, D]."""
    modules, number = module.foveal
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    return modules.attend(number, query, key, value, scale)[None], None


def accepted(called: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without those kinds of tokens that are not asked for."""
    parameters = signature(getattr(called, "forward", called)).parameters
    takes_all = any(parameter.kind == Parameter.VAR_KEYWORD for parameter in parameters.values())
    inner = getattr(called, "base_model", None)
    known = set(parameters) | (set() if inner is None else set(signature(inner.forward).parameters))
    return {
        name: value for name, value in arguments.items() if name in known or (takes_all and name != "mm_token_type_ids")
    }


def load_modules(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> Modules:
    """Raises CheckpointError, with a sentence, for what is missing, does not fit, or cannot be served."""
    read = dict(tensors)
    first = next(tensor for tensor in read.values() if tensor.is_floating_point())
    config = transformers.AutoConfig.from_pretrained(checkpoint.folder, **OWN)
    kind = transformers.AutoModelForImageTextToText._model_mapping[type(config)]
    whole, report = kind.from_pretrained(
        None, config=config, state_dict=read, dtype=first.dtype, output_loading_info=True
    )
    for what in ("missing_keys", "mismatched_keys", "error_msgs"):
        if report.get(what):
            one = min(map(str, report[what]))
            raise CheckpointError(f"{checkpoint.folder}: {len(report[what])} weights have {what}, such as {one}")
    whole = whole.eval().to(first.device)
    modules = Modules(whole, _decoder(whole))
    modules.find_layers()
    return modules


def _decoder(whole: Any) -> Any:
    decoder = whole.get_decoder()
    while decoder.get_output_embeddings() is not None and decoder is not whole:  # it has a head of its own
        decoder = decoder.get_decoder()
    return decoder
