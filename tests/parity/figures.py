"""How near ours is to the reference, family by family: python -m tests.parity.figures

The largest difference over the prompts of test_families.py (none, one and three images, two seeds), in logits and, for
their scale, the largest logit; and in the pixels that the tower sees. For phi3_v, the last logits of its golden cases.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.parity.families import FAMILIES
from tests.parity.golden import golden_cases
from tests.parity.naive import NaiveRun
from tests.parity.test_families import QUESTIONS, Subject, question


def logit_difference(subject: Subject, name: str) -> tuple[float, float]:
    """The largest difference of a prompt's logits from the reference's, and the largest of these."""
    asked = question(name)
    prepared, ours = subject.asked_of_ours(*asked), subject.reference.ours
    with torch.inference_mode():
        expected = subject.reference.model(**subject.asked_of_reference(*asked)).logits[0]
    run = NaiveRun(ours, prepared.prompt, len(prepared.prompt.token_ids), prepared.pixels)
    return float((ours.decoder.logits(run.prefill()) - expected).abs().max()), float(expected.abs().max())


def pixel_difference(subject: Subject) -> float:
    asked = question("an image")
    expected = subject.family.reference_pixels(subject.asked_of_reference(*asked))
    return float((subject.tower_pixels(subject.asked_of_ours(*asked)) - expected).abs().max())


def golden_difference() -> tuple[float, float]:
    found = []
    for case in golden_cases("phi3_v"):
        prepared, expected = case.prepared(), case.expected()["last_logits"]
        hidden = NaiveRun(case.model(), prepared.prompt, case.facts["prompt_tokens"] + 12, prepared.pixels).prefill()
        difference = (case.model().decoder.logits(hidden[-1:]) - expected).abs().max()
        found.append((float(difference), float(expected.abs().max())))
    logits, largest = map(max, zip(*found, strict=True))
    return logits, largest


def main() -> None:
    print(f"{'':26} {'logits':>9} {'largest':>9} {'pixels':>9}")
    for name, family in FAMILIES.items():
        found = []
        for seed in (0, 1):
            with TemporaryDirectory() as folder:
                subject = Subject(family, family.make(Path(folder), seed))
                logits = [logit_difference(subject, asked) for asked in QUESTIONS]
                found.append((*map(max, zip(*logits, strict=True)), pixel_difference(subject)))
        print(f"{name:26} " + " ".join(f"{max(column):9.1e}" for column in zip(*found, strict=True)))
    print(f"{'phi3_v':26} " + " ".join(f"{figure:9.1e}" for figure in golden_difference()))


if __name__ == "__main__":
    main()
