"""Small tokenizers of the kinds that published checkpoints have, images without pixels, and prompts spelled out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import numpy as np
import tokenizers
from numpy.typing import NDArray
from PIL.Image import Image as Picture
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from foveal.conversation.tokenizer import Tokenizer
from foveal.types import (
    ChatRequest,
    Detail,
    Image,
    ImageLayout,
    ImageRef,
    ImageSpan,
    Message,
    PixelRef,
    Placeholder,
    Prompt,
    Role,
    Size,
)

_CORPUS = [
    "what colour is the round shape in the picture",
    "the shape is red and round",
    "naïve café 你好 🙂 <tag>",
] * 4
_MARKS = ("<|user|>", "<|assistant|>", "<|system|>")
KINDS = ("byte_level", "prepend", "metaspace_first", "metaspace_in_sequence", "unprefixed")


@cache
def backend(kind: str = "byte_level") -> tokenizers.Tokenizer:
    """A tokenizer of about 600 tokens, with Phi-3's special tokens (in `prepend` with its white space flags, too).

    byte_level: GPT-2, Llama 3, Qwen. prepend: Llama 2 and Phi-3 as published. metaspace_first: the same, converted
    anew; metaspace_in_sequence: with a further step. unprefixed: Gemma.
    """
    built = _byte_level() if kind == "byte_level" else _sentencepiece(kind)
    strips = kind == "prepend"
    built.add_special_tokens(
        [AddedToken("<s>", normalized=False), AddedToken("<|end|>", rstrip=strips, lstrip=strips, normalized=False)]
        + [AddedToken(mark, rstrip=strips, normalized=False) for mark in _MARKS]
        + [AddedToken("<|image|>", normalized=False)]
    )
    built.add_tokens([AddedToken("<|user|>!", normalized=False)])
    return built


@cache
def tokenizer(kind: str = "byte_level") -> Tokenizer:
    return Tokenizer(backend(kind))


def _byte_level() -> tokenizers.Tokenizer:
    built = tokenizers.Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    built.train_from_iterator(_CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet))
    return built


def _sentencepiece(kind: str) -> tokenizers.Tokenizer:
    """Byte-fallback BPE over words with their space; the byte tokens are put behind the trained vocabulary."""
    built = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    words = ["▁" + word for sentence in _CORPUS for word in sentence.split()]
    built.train_from_iterator(words, trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>"]))
    state = json.loads(built.to_str())
    vocab = state["model"]["vocab"]
    vocab |= {f"<0x{byte:02X}>": len(vocab) + byte for byte in range(256)}
    built = tokenizers.Tokenizer.from_str(json.dumps(state))
    spaces = normalizers.Replace(" ", "▁")
    if kind == "prepend":
        built.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
    elif kind == "metaspace_first":
        built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    elif kind == "metaspace_in_sequence":
        first = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        built.pre_tokenizer = pre_tokenizers.Sequence([first, pre_tokenizers.Digits()])
    else:
        built.normalizer = spaces
    words_again = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    strip = [] if kind == "unprefixed" else [decoders.Strip(" ", 1, 0)]
    built.decoder = decoders.Sequence(words_again + strip)
    return built


class SixTokenProcessor:
    """Stands for a family's processor: an image is <|image|> six times, the last of them a separator."""

    fingerprint = "six"

    def __init__(self, image_token_id: int) -> None:
        self._image_token_id = image_token_id

    def layout(self, size: Size, detail: Detail) -> ImageLayout:
        return ImageLayout(size, (size.height, size.width, 3), (1, 1), 1, 6)

    def prepare(self, picture: Picture, layout: ImageLayout) -> NDArray[np.uint8]:
        return np.zeros(layout.pixel_shape, np.uint8)

    def placeholder(self, layout: ImageLayout) -> Placeholder:
        return Placeholder((self._image_token_id,) * 6, (ImageSpan(0, 2), ImageSpan(2, 3)))


def processor(kind: str = "byte_level") -> SixTokenProcessor:
    token_id = tokenizer(kind).token_id("<|image|>")
    assert token_id is not None
    return SixTokenProcessor(token_id)


def images(count: int) -> list[Image]:
    layout = processor().layout(Size(8, 8), "auto")
    return [Image(bytes([number]) * 32, PixelRef(0, layout.pixel_shape), layout) for number in range(count)]


IMAGE = object()  # an image's place in the content of a message


def chat(*turns: tuple[Role, Sequence[object] | str]) -> ChatRequest:
    """A request from (role, text) or (role, [text, IMAGE, ...]) pairs."""
    positions = iter(range(1, 100))
    return ChatRequest(
        tuple(
            Message(role, tuple(ImageRef("data:", next(positions)) if part is IMAGE else str(part) for part in content))
            for role, content in ((role, [content] if isinstance(content, str) else content) for role, content in turns)
        )
    )


def spelled(prompt: Prompt, kind: str = "byte_level") -> str:
    """The prompt for a reader: special tokens by name, an image as IMG."""
    names = tokenizer(kind)
    spans = {span.offset for image in prompt.images for span in image.spans[:1]}
    hidden = {place for start in spans for place in range(start + 1, start + 6)}
    return "".join(
        "IMG" if place in spans else names.token_bytes(token_id).decode("latin-1")
        for place, token_id in enumerate(prompt.token_ids)
        if place not in hidden
    )
