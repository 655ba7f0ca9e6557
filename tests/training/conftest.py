"""A training model small enough for tests, and a tokenizer of its size."""

import pytest
from tokenizers import Tokenizer

from training.model import ModelConfig
from training.tokenizer import train_tokenizer

MODEL = ModelConfig(112, 32, 2, 2, 64, 64, 2, 2, 96, 400, num_crops=4)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(MODEL.vocab_size, seed=1, num_conversations=50)
