"""A training model small enough for tests, and a tokenizer of its size."""

from collections.abc import Iterator

import pytest
from tokenizers import Tokenizer

from training import writing
from training.model import ModelConfig
from training.tokenizer import train_tokenizer

MODEL = ModelConfig(112, 32, 2, 2, 64, 64, 2, 2, 96, 400, num_crops=4)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(MODEL.vocab_size, seed=1, num_conversations=50)


@pytest.fixture(scope="session", autouse=True)
def _known_fonts() -> Iterator[None]:
    """matplotlib's fonts, whatever is installed: what is drawn, and so what is asserted, depends on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "FONT_FOLDERS", ())
        writing.fonts.cache_clear()
        yield
    writing.fonts.cache_clear()
