"""The processor of a checkpoint, as transformers has it, asked about one picture at a time. Runs no checkpoint's code.

One picture at a time, so that no padding depends on its neighbours. Runs in the image workers, in the engine (for its
check at the start), and in the process that counts tokens; never in the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import transformers
from PIL import Image
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from foveal.errors import CheckpointError
from foveal.models.checkpoint import read_json
from foveal.models.family import InvalidImageSize
from foveal.models.generic.facts import Facts, facts_of, pixels_of
from foveal.models.generic.sizes import Hello
from foveal.types import Size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

OF_TEXT = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")
MARKS = ("image_placeholder_token", "image_token")  # of a processor: what a template writes for an image
FEATURE_IDS = ("image_token_id", "image_token_index", "visual_indicator_token_ids")  # of a config
OWN = {"local_files_only": True, "trust_remote_code": False}

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@dataclass(frozen=True, slots=True)
class Pictures:
    """A processor, what stands for an image in a text, and the tokens that its features replace."""

    processor: Any
    config: Any
    mark: str
    feature_ids: tuple[int, ...]

    @classmethod
    def load(cls, folder: Path) -> Pictures:
        """Raises CheckpointError, with a sentence, where the processor cannot be made."""
        try:
            config = transformers.AutoConfig.from_pretrained(folder, **OWN)
            processor = _processor(folder, config)
            mark = _mark(processor)
            feature_ids = _feature_ids(config, processor, mark)
        except CheckpointError:
            raise
        except Exception as error:  # transformers raises anything
            raise CheckpointError(f"{folder}: transformers cannot make its processor ({short(error)})") from error
        return cls(processor, config, mark, feature_ids)

    def hello(self) -> Hello:
        """What the server is told of the checkpoint."""
        config = self.config.to_json_string(use_diff=False).encode()
        names = (self.mark, *self.processor.tokenizer.convert_ids_to_tokens(self.feature_ids))
        return Hello(config, self.mark, tuple(dict.fromkeys(names)), transformers.__version__)

    def facts(self, size: Size) -> Facts:
        """Raises InvalidImageSize."""
        try:
            return self._both(Image.new("RGB", (size.width, size.height)))[0]
        except Exception as error:
            raise InvalidImageSize(f"this model's processor cannot take its size ({short(error)})") from error

    def prepare(self, picture: Picture) -> tuple[Facts, NDArray[np.uint8]]:
        """The picture's own facts, which must be those of its size, and its pixels."""
        facts, arrays = self._both(picture)
        return facts, pixels_of(arrays)

    def _both(self, picture: Picture) -> tuple[Facts, dict[str, NDArray[np.generic]]]:
        token_ids, arrays = self.process([picture])
        return facts_of(arrays, token_ids, self.feature_ids), arrays

    def process(self, pictures: Sequence[Picture]) -> tuple[tuple[int, ...], dict[str, NDArray[np.generic]]]:
        """The token ids that stand for the pictures, one behind the other, and what the processor makes of them."""
        if not pictures:
            return (), {}
        text = self.mark * len(pictures)
        settings = {"text": [text], "return_tensors": "pt", "add_special_tokens": False}
        try:
            inputs = self.processor(images=[[*pictures]], **settings)
        except ValueError:  # some take a list for each text, some none
            inputs = self.processor(images=[*pictures], **settings)
        arrays = {name: _array(value) for name, value in inputs.items() if name not in OF_TEXT}
        return tuple(int(token_id) for token_id in inputs["input_ids"][0]), arrays


def _array(value: Any) -> NDArray[np.generic]:
    """Of a tensor, of numbers, or of a list of either."""
    if isinstance(value, list | tuple):
        return np.stack([_array(part) for part in value])
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)


def _processor(folder: Path, config: Any) -> Any:
    """The processor without the parts for video and sound, which need libraries of their own."""
    settings, *others = (
        read_json(folder / f"{name}_config.json") for name in ("processor", "preprocessor", "tokenizer")
    )
    named = [found for each in (settings, *others) if isinstance(found := each.get("processor_class"), str)]
    kind: Any = getattr(transformers, named[0]) if named else PROCESSOR_MAPPING[type(config)]
    if transformers.ProcessorMixin not in getattr(kind, "__mro__", ()):
        raise CheckpointError(f"{folder}: processor_class must name a processor of transformers")
    unchecked: Any = type(kind.__name__, (kind,), {"check_argument_for_proper_class": lambda *_: None})
    parts = [_part(name, folder) for name in kind.get_attributes()]
    return unchecked.from_args_and_dict(parts, {**settings})


def _part(name: str, folder: Path) -> Any:
    if name == "tokenizer":
        return transformers.AutoTokenizer.from_pretrained(folder, **OWN)
    if name == "image_processor":
        try:
            return transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", **OWN)
        except (ImportError, ValueError):  # this one is written with torchvision alone
            return transformers.AutoImageProcessor.from_pretrained(folder, **OWN)
    return None


def _mark(processor: Any) -> str:
    for owner in (processor, processor.tokenizer):
        for name in MARKS:
            if isinstance(found := getattr(owner, name, None), str):
                return found
    raise CheckpointError("its processor does not say what stands for an image")


def _feature_ids(config: Any, processor: Any, mark: str) -> tuple[int, ...]:
    found = [getattr(config, name, None) for name in FEATURE_IDS]
    ids = [token_id for each in found for token_id in (each if isinstance(each, list | tuple) else [each])]
    return tuple(filter(None, ids)) or (int(processor.tokenizer.convert_tokens_to_ids(mark)),)


def short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
