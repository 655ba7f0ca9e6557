"""The trainer: `python -m training.train training/mini.toml`. Stages in order, resumable, a log and a curve as it goes.

It knows the losses, the schedule and the checkpoint; what is drawn and asked is data.py's, the model is model.py's.
"""

import argparse
import json
import math
import os
import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.config import Stage, TrainingConfig, read_config
from training.curve import plot
from training.data import FIRST_THING, PATCH_COLOURS, PATCH_KINDS, Batch, Batches, Grid, Text
from training.model import IGNORE, DenseHead, Phi3V, token_loss
from training.optimiser import optimisers
from training.start import start_from
from training.tokenizer import load_or_train
from training.writing import CHARACTERS

# Most patches show no shape; unweighted, the tower is long content to call everything background.
BACKGROUND_WEIGHT = 0.1
EXTENT_WEIGHT = 4.0  # extents are parts of one


@dataclass
class Progress:
    stage: int = 0
    step: int = 0  # within the stage
    pictures: int = 0
    seconds: float = 0.0


class Trainer:
    def __init__(self, config: TrainingConfig) -> None:
        torch.manual_seed(config.run.seed)
        self.config = config
        self.device = torch.device(_device(config.run.device))
        self.model = Phi3V(config.model)
        self.head = DenseHead(config.model, len(PATCH_KINDS), len(PATCH_COLOURS), len(CHARACTERS))
        self.modules = nn.ModuleList([self.model, self.head])
        settings = config.optimiser
        self.optimisers = optimisers(
            self.modules, (settings.betas[0], settings.betas[1]), settings.momentum, settings.weight_decay
        )
        self.progress = Progress()
        self.is_stopping = False
        self.folder = Path(config.run.folder)
        self.tokenizer = load_or_train(self.folder / "tokenizer.json", config.model.vocab_size, config.run.seed)
        if config.run.start_from and not (self.folder / "checkpoint.pt").exists():
            start_from(self.model, self.tokenizer, Path(config.run.start_from))
        self.modules.to(self.device)

    def stop(self, *_: object) -> None:
        """After the step that runs, save and exit: what a signal asks for."""
        self.is_stopping = True

    def losses(self, batch: Batch, tower: bool) -> dict[str, Tensor]:
        """The terms of the loss, and what is measured beside them."""
        with torch.autocast(self.device.type, torch.bfloat16):
            with torch.set_grad_enabled(tower):
                patches = self.model.encode(batch.pixels.float())
            kind_logits, colour_logits, letter_logits, extents = self.head(patches)
            answers = answer_logits(self.model, patches, batch.grids, batch.text) if batch.text else None
        targets = batch.targets
        is_thing = targets.kinds >= FIRST_THING
        is_letter = targets.letters != IGNORE
        weights = torch.where(is_thing, 1.0, BACKGROUND_WEIGHT)
        found = {
            "kind": token_loss(kind_logits, targets.kinds, weights),
            "colour": token_loss(colour_logits, targets.colours, weights),
            "letter": token_loss(letter_logits, targets.letters),
            "extent": (extents.float() - targets.extents)[is_thing].abs().mean() * EXTENT_WEIGHT,
            "kind_accuracy": _accuracy(kind_logits, targets.kinds, is_thing & ~is_letter),
            "colour_accuracy": _accuracy(colour_logits, targets.colours, is_thing & ~is_letter),
            "letter_accuracy": _accuracy(letter_logits, targets.letters, is_letter),
        }
        if answers:
            logits, tokens = answers
            found |= {
                "answer": token_loss(logits, tokens),
                "token_accuracy": _accuracy(logits, tokens, tokens != IGNORE),
            }
        return found

    def step(self, batch: Batch, learning_rate: float, tower: bool = True) -> dict[str, float]:
        found = self.losses(batch.to(self.device), tower)
        loss = found["kind"] + found["colour"] + found["extent"] + found["letter"]
        loss = loss + found.get("answer", 0.0)
        self.modules.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.modules.parameters(), self.config.optimiser.max_grad_norm)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
            optimiser.step()
        return {name: value.item() for name, value in found.items()}

    def run(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.resume()
        while self.progress.stage < len(self.config.stages):
            self.run_stage(self.config.stages[self.progress.stage])
            self.progress.stage, self.progress.step = self.progress.stage + 1, 0
            self.save()

    def run_stage(self, stage: Stage) -> None:
        run, started, saved = self.config.run, time.monotonic(), time.monotonic()
        found: dict[str, list[float]] = defaultdict(list)  # since the last line of the log
        for batch in self._loader(stage):
            for name, value in self.step(batch, stage.learning_rate(self.progress.step), stage.tower).items():
                found[name].append(value)
            self.progress.step += 1
            self.progress.pictures += stage.pictures
            if self.progress.step % run.log_every == 0:
                self.progress.seconds += time.monotonic() - started
                self._log(stage, found, time.monotonic() - started)
                started = time.monotonic()
                found.clear()
            if self.is_stopping or time.monotonic() - saved > run.checkpoint_every_s:
                self.save()
                saved = time.monotonic()
            if self.is_stopping:
                raise SystemExit("stopped; the same command goes on from here")

    def _loader(self, stage: Stage) -> DataLoader[Batch]:
        batches = Batches(self.config.model, stage, self.tokenizer, self.config.run.seed)
        rest = range(self.progress.step, stage.steps)
        workers = self.config.run.workers
        return DataLoader(
            batches,
            batch_size=None,
            sampler=rest,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_leave_signals_to_the_trainer,
        )

    def _log(self, stage: Stage, found: dict[str, list[float]], seconds: float) -> None:
        rate = len(found["kind"]) * stage.pictures / seconds
        line = {"stage": stage.name, "step": self.progress.step, "pictures": self.progress.pictures,
                "seconds": round(self.progress.seconds), "pictures_per_s": round(rate, 1)}  # fmt: skip
        means = {name: sum(values) / len(values) for name, values in found.items()}
        line |= {name: round(mean, 4) for name, mean in means.items() if not math.isnan(mean)}  # no letters: none right
        with (self.folder / "log.jsonl").open("a") as log:
            print(json.dumps(line), file=log)
        print(json.dumps(line), flush=True)

    def save(self) -> None:
        state = {
            "modules": self.modules.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "progress": vars(self.progress),
        }
        part = self.folder / "checkpoint.part"
        torch.save(state, part)
        os.replace(part, self.folder / "checkpoint.pt")
        if (log := self.folder / "log.jsonl").exists():
            plot(log, self.folder / "curve.png")

    def resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if path.exists():
            state = torch.load(path, map_location=self.device)
            self.modules.load_state_dict(state["modules"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.progress = Progress(**state["progress"])
            self._forget_later_lines()

    def _forget_later_lines(self) -> None:
        """Steps after the checkpoint will be taken, and logged, again."""
        log = self.folder / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        kept = [line for line in lines if json.loads(line)["pictures"] <= self.progress.pictures]
        log.write_text("".join(f"{line}\n" for line in kept))


def answer_logits(model: Phi3V, patches: Tensor, grids: list[Grid], text: Text) -> tuple[Tensor, Tensor]:
    """Logits [answer tokens, vocabulary] and the tokens they should give, all conversations in one row."""
    hidden = model.decode(text.token_ids, text.owners, text.branches, text.positions, text.image_mask, patches, grids)
    targets = text.labels[:, 1:]
    return model.lm_head(hidden[:, :-1][targets != IGNORE]), targets[targets != IGNORE]


def _accuracy(logits: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """The share of the counted targets that the largest logit hits."""
    return (logits.argmax(-1) == targets)[counted].float().mean().detach()


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C goes to all processes; workers must live until the checkpoint is written."""
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, signal.SIG_IGN)


def _device(wanted: str) -> str:
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    config = read_config(parser.parse_args().config)
    torch.set_num_threads(config.run.threads)
    trainer = Trainer(config)
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, trainer.stop)
    trainer.run()


if __name__ == "__main__":
    main()
