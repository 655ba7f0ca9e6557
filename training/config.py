"""The one configuration file of a training run, read into frozen records."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from training.conversations import COMPARED_SHARE
from training.model import ModelConfig


@dataclass(frozen=True)
class Run:
    folder: str
    seed: int
    checkpoint_every_s: float
    log_every: int
    threads: int | None = None  # of the training; None: one for each core without a worker
    workers: int | None = None  # processes that draw; None: one for four cores, with a GPU one for each core
    device: str = "auto"  # auto: a GPU where there is one
    start_from: str | None = None  # a model folder whose weights the run begins with
    start_heads: str | None = None  # the heads exported with them
    bare_words: bool = False  # whether words of short answers replace the rarest tokens, see with_bare_words
    # The export is the mean of the weights after these stages, by these shares; "start" is the run's first weights.
    averaged: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Optimiser:
    betas: list[float]  # AdamW's
    momentum: float  # Muon's
    weight_decay: float
    max_grad_norm: float


@dataclass(frozen=True)
class Stage:
    name: str
    steps: int
    scenes: dict[str, int]  # the kinds of scene, and how often each beside the others
    pictures: int  # a step
    warmup: int  # steps from 0 to first_lr; from there straight to last_lr
    first_lr: float
    last_lr: float
    # The greatest number of crops of a picture; each batch uses one of these. 0: one crop, encoded once and shown once,
    # where the server shows it twice.
    num_crops: list[int]
    answers: bool  # whether the decoder learns too
    tower: float = 1.0  # the tower's share of the learning rate; 0: it does not learn
    compared: float = COMPARED_SHARE  # share of the shape scenes that are shown two or three at a time
    plain: float = 0.0  # share of the other pictures that are asked about as in plainly.py
    minutes: float | None = None  # at most; the rate comes down by then, however many steps that was

    def done(self, step: int, seconds: float) -> float:
        """The share of the stage that is over."""
        return max(step / self.steps, seconds / (60 * self.minutes) if self.minutes else 0.0)

    def learning_rate(self, step: int, seconds: float) -> float:
        warm = min(1.0, (step + 1) / self.warmup)
        return warm * (self.first_lr + (self.last_lr - self.first_lr) * min(1.0, self.done(step, seconds)))

    def a_kind(self, rng: Random) -> str:
        """The kind of the next scene."""
        return rng.choices(list(self.scenes), list(self.scenes.values()))[0]


@dataclass(frozen=True)
class TrainingConfig:
    run: Run
    model: ModelConfig
    optimiser: Optimiser
    stages: tuple[Stage, ...]


def read_config(path: Path) -> TrainingConfig:
    """Reads a configuration file. Settings that it lacks come from the file that it names as its `base`.

    Its stages are its own, or else all those of `base`. A stage has its scenes, or the name of an entry in [mixtures],
    which several stages may use.
    """
    raw = _tables(path)
    for stage in raw["stage"]:
        if isinstance(stage["scenes"], str):
            stage["scenes"] = raw["mixtures"][stage["scenes"]]
    stages = tuple(Stage(**stage) for stage in raw["stage"])
    return TrainingConfig(Run(**raw["run"]), ModelConfig(**raw["model"]), Optimiser(**raw["optimiser"]), stages)


def _tables(path: Path) -> dict[str, Any]:
    raw = tomllib.loads(path.read_text())
    base = _tables(path.parent / raw["base"]) if "base" in raw else {}
    merged = {name: base.get(name, {}) | raw.get(name, {}) for name in ("run", "model", "optimiser", "mixtures")}
    return base | raw | merged
