"""The check before a model is served: our way and transformers' own give the same logits, or the model is refused.

Asked about a text and about two pictures with text around them. Our way is that of the engine: several sequences in a
step, prompts in chunks, keys and values in pages, features of one picture at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from foveal.errors import CheckpointError
from foveal.layers.attention.backends import attention_backend
from foveal.layers.attention.batch import AttentionBatch
from foveal.layers.step import StepContext
from foveal.models.family import PlacedImage, SequenceSlice
from foveal.models.generic.facts import decode
from foveal.models.generic.pictures import Pictures
from foveal.models.generic.processor import layout_of
from foveal.types import Image as PreparedImage
from foveal.types import ImageSpan, PixelRef, Prompt, PromptImage, Size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from torch import Tensor

    from foveal.models.family import Model
    from foveal.models.generic.model import TransformersImages
    from foveal.models.generic.modules import Modules

SIZES = (Size(90, 60), Size(50, 120))
BLOCK, CHUNKS = 16, (0.4, 0.9, 1.0)
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # of the logits' root mean square


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, what transformers' forward is given for its images, and their features as ours computes them."""

    prompt: Prompt
    inputs: dict[str, Tensor]
    features: tuple[Tensor, ...]


@torch.inference_mode()
def check(model: Model, modules: Modules, folder: Path) -> None:
    """Raises CheckpointError, in a sentence, if our way and transformers' own differ."""
    pictures = Pictures.load(folder)
    questions = [_question(model, pictures, sizes) for sizes in ((), SIZES[:1], SIZES)]
    for question, what in zip(questions, ("a text", "a picture", "two pictures"), strict=True):
        expected = _their_logits(modules, question, pictures.feature_ids)
        error = float((_our_logits(model, question, modules) - expected).norm() / expected.norm())
        if not error < TOLERANCES.get(modules.dtype, 5e-2):
            raise CheckpointError(
                f"{folder}: the check of {what} failed: logits differ from transformers' own by {error:.1e} of their "
                f"size, so the type {pictures.config.model_type} cannot be served with these settings"
            )


def _question(model: Model, pictures: Pictures, sizes: Sequence[Size]) -> Question:
    """Raises CheckpointError if the processor makes of several pictures what it does not make of each."""
    random = np.random.default_rng(len(sizes))
    words = list(range(3, min(model.decoder.vocab_size, 200)))
    shown = [Image.fromarray(random.integers(0, 256, (size.height, size.width, 3), np.uint8)) for size in sizes]
    token_ids, placed, features = random.choice(words, 9).tolist(), [], []
    for picture in shown:
        facts, pixels = pictures.prepare(picture)
        spans = tuple(ImageSpan(len(token_ids) + span.offset, span.length) for span in facts.spans)
        image = PreparedImage(b"", PixelRef(0, pixels.shape), layout_of(Size(*picture.size), facts))
        placed.append(PromptImage(image, spans))
        token_ids += [*facts.token_ids, *random.choice(words, 7).tolist()]
        features.append(_images(model).features(facts, facts.with_pixels(pixels)))
    together, arrays = pictures.process(shown)
    if together != tuple(i for image in placed for i in decode(image.image.layout.facts).token_ids):
        raise CheckpointError("its processor writes a picture in another way where there are several")
    inputs = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    return Question(Prompt(tuple(token_ids), tuple(placed)), inputs, tuple(features))


def _images(model: Model) -> TransformersImages:
    images: Any = model.images
    return images  # type: ignore[no-any-return]


def _their_logits(modules: Modules, question: Question, feature_ids: tuple[int, ...]) -> Tensor:
    token_ids = torch.tensor(question.prompt.token_ids, device=modules.device)
    inputs = {name: x.to(modules.device) for name, x in question.inputs.items()}
    with modules.plain():
        return modules.forward(token_ids, inputs, feature_ids)


def _our_logits(model: Model, question: Question, modules: Modules) -> Tensor:
    """In chunks, as the engine computes a prompt."""
    decoder, prompt = model.decoder, question.prompt
    table = list(range(-(-len(prompt.token_ids) // BLOCK)))[::-1]
    shape = (decoder.kv_shape.num_layers, 2, len(table), BLOCK, *decoder.kv_shape[1:])
    cache = torch.zeros(shape, dtype=modules.dtype, device=modules.device)
    backend, positions = attention_backend(modules.device, modules.dtype), decoder.positions(prompt, 0).prompt
    found, start = [], 0
    spans = [span for image in prompt.images for span in image.spans]
    whole_spans = [(span.offset, span.end) for span in spans] if model.traits.whole_spans else []
    for stop in (_uncut(whole_spans, int(len(prompt.token_ids) * share)) for share in CHUNKS):
        batch = AttentionBatch(
            query_start_loc=[0, stop - start],
            seq_lens=[stop],
            block_tables=[table],
            slot_mapping=[table[at // BLOCK] * BLOCK + at % BLOCK for at in range(start, stop)],
            block_size=BLOCK,
            two_way_spans=[[(first, end) for first, end in whole_spans if start < end and first < stop]],
        )
        x_TW = decoder.embed(torch.tensor(prompt.token_ids[start:stop], device=modules.device))
        placed = tuple(map(PlacedImage, question.features, (image.spans for image in prompt.images)))
        after_layer = _images(model).place(x_TW, [SequenceSlice(0, stop - start, start, placed)])
        rows, attends = torch.from_numpy(positions[:, start:stop]), backend.plan(batch, decoder.windows)
        step = StepContext(rows.to(modules.device), batch, attends, cache, after_layer)
        found.append(decoder.logits(decoder.decode(x_TW, step)))
        start = stop
    return torch.cat(found)


def _uncut(whole_spans: Sequence[tuple[int, int]], stop: int) -> int:
    """The end of the span that `stop` would cut."""
    return max([stop, *(end for first, end in whole_spans if first < stop < end)])
