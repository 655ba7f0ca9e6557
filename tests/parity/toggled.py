"""A checkpoint of the reference library with one setting changed or left out, and what both answer from it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers

from foveal.conversation.config import load_conversation
from foveal.models.registry import load_model, load_processor
from foveal.types import Prompt
from tests.builders import PreparedPrompt, picture, prepared_prompt
from tests.parity.configs import Files, Place, places
from tests.parity.families import FAMILIES, mask_rows_that_see_nothing
from tests.parity.naive import NaiveRun
from tests.parity.text import KINDS, text_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parity.references import Reference

LEFT_OUT = object()
QUESTION = [1, *range(40, 80)]
TEXTS = ["look: ", " what?"]
SUBJECTS = (*FAMILIES, *KINDS)
WORDS = {
    "act": ("silu", "gelu", "gelu_pytorch_tanh", "quick_gelu", "relu"),
    "norm_type": ("layer_norm", "rms_norm"),
    "strategy": ("default", "full"),
    "rope_type": ("default", "linear", "dynamic", "yarn", "proportional"),
    "layer_types": ("full_attention", "sliding_attention"),
    "image_processor_type": ("CLIPImageProcessor", "SiglipImageProcessor", "Qwen2VLImageProcessor"),
}


@dataclass(frozen=True)
class Toggle:
    """One setting, with another value."""

    place: Place
    value: Any

    def __str__(self) -> str:
        return f"{self.place} = {'(left out)' if self.value is LEFT_OUT else json.dumps(self.value)}"

    def applied(self, files: Files) -> Files:
        if self.value is not LEFT_OUT:
            return self.place.changed(files, self.value)
        copied: Files = json.loads(json.dumps(files))
        inner: dict[str, Any] = copied[self.place.file]
        for name in self.place.path[:-1]:
            inner = inner[name]
        del inner[self.place.path[-1]]
        return copied


def toggles(files: Files) -> list[Toggle]:
    """Every setting of the files with each of a few other values, and without it."""
    found = []
    for place, value in places(files):
        if {"id2label", "label2id", "text_config", "vision_config"}.isdisjoint(place.path[-1:]):
            values = () if isinstance(value, dict) else others(place.path[-1], value)
            found += [Toggle(place, each) for each in (*values, LEFT_OUT)]
    return found


def others(name: str, value: Any) -> tuple[Any, ...]:
    """Other values that the setting might have."""
    words = next((words for part, words in WORDS.items() if part in name), ())
    match value:
        case bool():
            return (not value,)
        case int():
            return (value + 1, value * 2, *range(4)) if name == "resample" else (value + 1, value * 2)
        case float():
            return (value / 2, value * 2)
        case str():
            return tuple(word for word in words if word != value)
        case list():
            return (value[:-1], value[::-1], *([word] * len(value) for word in words))
        case _:
            return (True, 2, 0.5)


class Subject:
    """A family's checkpoint, and one question to it, with an image where it takes any."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.family = FAMILIES.get(name)
        self.reference: Reference = self.family.make(folder, 0) if self.family else text_checkpoint(name, folder)
        self.files: Files = {
            file.stem: json.loads(file.read_text())
            for file in folder.glob("*config.json")
            if file.stem in ("config", "preprocessor_config")
        }

    def write(self, folder: Path, files: Files) -> None:
        """The checkpoint's files in another folder, with these settings."""
        for file in self.folder.iterdir():
            os.symlink(file, folder / file.name)
        for name, content in files.items():
            (folder / f"{name}.json").unlink()
            (folder / f"{name}.json").write_text(json.dumps(content))

    def expected(self, folder: Path) -> tuple[list[int], torch.Tensor] | None:
        """The reference's token ids and logits; None if it cannot read the settings, or others fit the weights."""
        try:
            config = type(self.reference.model.config).from_pretrained(folder)
            config.dtype = torch.float32
            model = self._model(config)
            inputs = self._inputs(folder)
            if model is None:
                return None
            with torch.inference_mode():
                return inputs["input_ids"][0].tolist(), model(**inputs).logits[0]
        except Exception:  # whatever it is: then there is nothing to compare with
            return None

    def _model(self, config: Any) -> Any:
        """With the weights of the file; None if they are not those that the settings ask for."""
        kind, weights = type(self.reference.model), self.reference.model.state_dict()
        with torch.device("meta"):
            wanted = kind(config)
        if shapes(wanted) != shapes(self.reference.model):
            return None
        model = kind._from_config(config, attn_implementation="eager").eval()
        model.load_state_dict(weights)
        if kind is transformers.MllamaForConditionalGeneration:
            for layer in model.model.language_model.layers:
                mask_rows_that_see_nothing(layer)
        return model

    def _inputs(self, folder: Path) -> dict[str, Any]:
        if self.family is None:
            return {"input_ids": torch.tensor([QUESTION])}
        processor = self.reference.processor
        processor.image_processor = type(processor.image_processor).from_pretrained(folder)
        text = "<s>" + self.family.image_token.join(TEXTS)
        return dict(
            processor(
                text=[text],
                images=[picture(90, 60)],
                add_special_tokens=False,
                return_tensors="pt",
                **self.family.arguments,
            )
        )

    def answered(self, folder: Path) -> tuple[list[int], torch.Tensor]:
        """Our token ids and logits. Raises CheckpointError where the settings are refused."""
        model = load_model(folder, torch.device("cpu"), torch.float32)
        prepared = self._prepared(folder)
        run = NaiveRun(model, prepared.prompt, len(prepared.prompt.token_ids) + 8, prepared.pixels)
        return list(prepared.prompt.token_ids), model.decoder.logits(run.prefill())

    def _prepared(self, folder: Path) -> PreparedPrompt:
        if self.family is None:
            return PreparedPrompt(Prompt(tuple(QUESTION)), ())
        rules = load_conversation(self.reference.model.config.model_type).rules
        texts = ["<s>" + TEXTS[0] + rules.before_image, rules.after_image + TEXTS[1]]
        encode = self.reference.processor.tokenizer.encode
        return prepared_prompt(
            load_processor(folder), [encode(text, add_special_tokens=False) for text in texts], [picture(90, 60)]
        )


def shapes(model: torch.nn.Module) -> tuple[dict[str, torch.Size], int]:
    """Of its weights by name, and how many are distinct: a name may be another one's."""
    return {name: tensor.shape for name, tensor in model.state_dict().items()}, len(list(model.parameters()))
