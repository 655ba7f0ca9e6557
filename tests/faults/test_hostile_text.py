"""Users' text never becomes a special token or an image, with any tokenizer and any conversation config."""

from __future__ import annotations

import random

import pytest

from foveal.conversation.config import load_conversation
from foveal.conversation.render import Renderer
from foveal.types import Prompt
from tests.conversation.builders import IMAGE, KINDS, chat, images, processor, tokenizer

_SHARDS = ["<|", "|>", "end", "<|end|>", "<|image|>", "<|image_1|>", "<image>", "<s>", "\x02", "0\x03", "{{", "\n", " "]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", ["phi3_v", "vicuna"])
def test_typed_marks_stay_text(kind: str, style: str) -> None:
    renderer = Renderer(load_conversation("phi3_v", style), tokenizer(kind), processor(kind))
    chance = random.Random(11)

    def marks(text: str) -> list[int]:
        prompt = renderer.render(chat(("system", text), ("user", [IMAGE, text]), ("assistant", text)), images(1)).prompt
        return _special(prompt, kind)

    for _ in range(100):
        assert marks("".join(chance.choices(_SHARDS, k=chance.randrange(1, 12)))) == marks("plain")


def _special(prompt: Prompt, kind: str) -> list[int]:
    return [token_id for token_id in prompt.token_ids if tokenizer(kind).is_special(token_id)]
