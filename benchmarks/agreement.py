"""How often int8 weights change the likeliest token, on the tiny checkpoints of every family that tests hold to others.

    python -m benchmarks.agreement        (FOVEAL_GOLDEN names more golden folders, as in the tests)

Each checkpoint continues its questions greedily in float32; then int8 computes the same tokens. A place is clear where
float32's likeliest token leads by more than 0.1: rounding may decide what is closer. Weights are random there, so
errors are larger than in trained models: vectors of 32 numbers average little.

Results: benchmarks/agreement.txt.
"""

from __future__ import annotations

import platform
from datetime import date
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.accuracy import CLEAR
from foveal.layers.linear.policy import policy_of
from foveal.models.registry import load_model, load_processor
from tests.parity.golden import golden_cases
from tests.parity.naive import NaiveRun, naive_greedy
from tests.parity.test_engine import IMAGE_MAKERS, SIZES, TEXT_MAKERS, random_question

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foveal.models.family import Model
    from tests.builders import PreparedPrompt

CPU, NUM_TOKENS, SEEDS = torch.device("cpu"), 24, (1,)


def int8_model(folder: Path) -> Model:
    return load_model(folder, CPU, torch.float32, policy=policy_of("int8"))


def every_question() -> Iterator[tuple[str, Model, Model, PreparedPrompt]]:
    """The checkpoint's name, its model in float32 and in int8, and what both are asked."""
    for case in golden_cases("phi3_v"):
        yield "golden phi3_v", case.model(), int8_model(case.folder), case.prepared()
    for name, make in (TEXT_MAKERS | IMAGE_MAKERS).items():
        for seed in SEEDS:
            with TemporaryDirectory() as made:
                folder = Path(made)
                make(folder, seed)
                exact, rounded = load_model(folder, CPU, torch.float32), int8_model(folder)
                processor, random = load_processor(folder), np.random.default_rng(seed)
                for size in SIZES:
                    yield name, exact, rounded, random_question(exact, processor, random, size).prepared


@torch.inference_mode()
def logits(model: Model, prepared: PreparedPrompt, answer: list[int]) -> torch.Tensor:
    """[T, vocabulary] of the prompt and, token by token, of an answer."""
    run = NaiveRun(model, prepared.prompt, len(prepared.prompt.token_ids) + len(answer), prepared.pixels)
    hidden = [run.prefill(), *(run.compute([token]) for token in answer)]
    return model.decoder.logits(torch.cat(hidden))


def main() -> None:
    torch.set_num_threads(1)
    print(f"{date.today()}, {platform.machine()}, {NUM_TOKENS} greedy tokens a question, seeds {SEEDS}")
    print("checkpoint                 places   of them clear   changed by int8   largest error of a logit")
    for name, questions in groupby(every_question(), lambda question: question[0]):
        places = clear = changed = 0
        error = 0.0
        for _, exact, rounded, prepared in questions:
            answer = naive_greedy(exact, prepared.prompt, NUM_TOKENS, prepared.pixels)
            ours, theirs = logits(rounded, prepared, answer), logits(exact, prepared, answer)
            first, second = theirs.topk(2).values.T
            is_clear = first - second > CLEAR
            places, clear = places + len(ours), clear + int(is_clear.sum())
            changed += int(((ours.argmax(-1) != theirs.argmax(-1)) & is_clear).sum())
            error = max(error, float((ours - theirs).abs().max()))
        print(f"{name:26} {places:6}   {clear:13}   {changed:15}   {error:.3f}", flush=True)


if __name__ == "__main__":
    main()
