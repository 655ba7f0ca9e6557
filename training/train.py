"""The trainer: `python -m training.train training/mini.toml`. Stages in order, resumable, a log and a curve as it goes.

It has the losses, the schedule and the checkpoint; data.py makes the batches, model.py has the model.
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

from training.config import Run, Stage, TrainingConfig, read_config
from training.curve import plot
from training.data import Batch, Batches, Grid, Text
from training.heads import dense_heads, load_heads
from training.model import IGNORE, Phi3V, token_loss
from training.optimiser import optimisers
from training.precision import autocast, precision
from training.start import start_from
from training.targets import FIRST_THING, NameTargets, PatchTargets
from training.tokenizer import load_or_train

# Most patches show no shape; unweighted, the tower would long predict background everywhere.
BACKGROUND_WEIGHT = 0.1
MEASURES_WEIGHT = 4.0  # measures are fractions
CHOICE_WEIGHTS = dict.fromkeys(("kind", "colour", "letter", "left", "right", "left_place", "right_place"), 1.0)
CHOICE_WEIGHTS |= dict.fromkeys(("same_kind", "same_colour"), 2.5)  # what is learned last
OTHER_WEIGHT = 0.4  # of each other choice
NAME_WEIGHTS = dict.fromkeys(("letter", "same_kind", "same_colour", "first_kind", "first_colour"), 1.0)
NAME_WEIGHTS |= dict.fromkeys(("beside", "under", "higher", "more", "guess"), 1.0)
NAME_WEIGHTS |= {"changed": 3.0, "differ": 2.0}  # what is learned last
OTHER_NAME_WEIGHT = 0.25  # of each other choice of a name
# Predicted in a middle layer, too: where pictures differ, and which letter of which word comes next. Later layers need
# these to attend to the right positions.
EARLY_WEIGHTS = {"changed": NAME_WEIGHTS["changed"], "place": 1.0, "member": 1.0}
# Of the distance of the features' root mean square from 1. No other loss limits their scale, and next to features of
# fifty, the output of a decoder layer has no effect.
SCALE_WEIGHT = 0.05
LOOK_WEIGHT = 0.5  # of each kind of attention target
ANSWER_WEIGHT = 3.0  # most of an answer follows from the question
START = "start"  # the run's first weights are kept like those after a stage of this name


@dataclass
class Progress:
    stage: int = 0
    step: int = 0  # within the stage
    pictures: int = 0
    seconds: float = 0.0
    stage_seconds: float = 0.0


class Trainer:
    def __init__(self, config: TrainingConfig) -> None:
        torch.manual_seed(config.run.seed)
        self.config = config
        self.device = torch.device(_device(config.run.device))
        threads, self.workers = share_out(config.run, torch.get_num_threads(), self.device.type == "cpu")
        torch.set_num_threads(threads)
        self.model = Phi3V(config.model)
        heads = dense_heads(config.model)
        self.patch_head, self.joined_head, self.asked_head, self.said_head = heads
        self.modules = nn.ModuleList([self.model, heads])
        settings = config.optimiser
        self.optimisers = optimisers(
            self.modules, (settings.betas[0], settings.betas[1]), settings.momentum, settings.weight_decay
        )
        self.progress = Progress()
        self.is_stopping = False
        self.folder = Path(config.run.folder)
        begun = Path(config.run.start_from) if config.run.start_from else None
        file, vocab_size = self.folder / "tokenizer.json", config.model.vocab_size
        self.tokenizer = load_or_train(file, vocab_size, config.run.seed, begun, config.run.bare_words)
        if not (self.folder / "checkpoint.pt").exists():
            if begun:
                start_from(self.model, self.tokenizer, begun)
            if config.run.start_heads:
                load_heads(heads, Path(config.run.start_heads))
        self.modules.to(self.device)

    def stop(self, *_: object) -> None:
        """A signal handler: save and exit after the current step."""
        self.is_stopping = True

    def losses(self, batch: Batch, tower_learns: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, its terms and other measurements."""
        with autocast(self.device):
            with torch.set_grad_enabled(tower_learns):
                patches = self.model.encode(batch.pixels.float())
            projected = self.model.project(patches)
            of_joined = self.joined_head(projected)
            of_patches = self.patch_head(patches) if tower_learns or not batch.text else None
        loss, joined_found = dense_loss(of_joined, batch.targets)
        found = {f"joined_{name}": joined_found[name] for name in ("left_accuracy", "count_accuracy")}
        found["scale"] = projected.float().square().mean().sqrt()
        loss = loss + SCALE_WEIGHT * found["scale"].log().square()
        if of_patches:
            patch_loss, patch_found = dense_loss(of_patches, batch.targets)
            loss, found = loss + patch_loss, found | patch_found
        if batch.text:
            answer_loss, answer_found = self.answer_loss(projected, batch.grids, batch.text)
            loss, found = loss + answer_loss, found | answer_found
        return loss, found

    def answer_loss(self, projected: Tensor, grids: list[Grid], text: Text) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the answers and of the targets of names, and measurements.

        Names in questions are predicted in the middle layer, names in answers one layer before the last, so that later
        layers can use them. Differences of pictures are predicted in between: they need the pictures' contents, and
        answers need them.
        """
        with autocast(self.device):
            states = self.model.decode(
                text.token_ids, text.lengths, text.branches, text.positions, text.image_mask, projected, grids
            )
            is_answer = text.labels[1:] != IGNORE
            logits, tokens = self.model.lm_head(states[-1][:-1][is_answer]), text.labels[1:][is_answer]
            middle, late = (len(states) - 1) // 2, len(states) - 2
            of_asked = self.asked_head(states[middle][text.asked.tokens])
            of_said = self.said_head(states[late][text.said.tokens])
            early = self.said_head(states[min(middle + 1, len(states) - 1)][text.said.tokens])[0]
            looked = {}
            for name, layer, number in (("back", 1, 0), ("asked", middle, 2), ("said", late, 1)):
                looked[name] = self.model.attended(
                    (layer, number), states[layer - 1], text.lengths, text.branches, text.positions, text.looks[name]
                )
        found = {"answer": token_loss(logits, tokens), "token_accuracy": _accuracy(logits, tokens)}
        loss = ANSWER_WEIGHT * found["answer"]
        for name, (shares, hits) in looked.items():
            found[f"look_{name}"], found[f"look_{name}_accuracy"] = -shares.mean(), hits.float().mean()
            loss = loss - LOOK_WEIGHT * shares.sum() / max(1, len(shares))
        for name, weight in EARLY_WEIGHTS.items():
            meant = text.said.choices[name]
            loss = loss + weight * token_loss(early[name], meant)
            found[f"early_{name}_accuracy"] = _accuracy(early[name], meant)
        for when, answers, targets in (("asked", of_asked, text.asked), ("said", of_said, text.said)):
            names_loss, names_found = name_loss(answers, targets)
            loss = loss + names_loss
            found |= {f"{when}_{name}": value for name, value in names_found.items()}
        return loss, found

    def step(self, batch: Batch, learning_rate: float, tower: float = 1.0) -> dict[str, float]:
        loss, found = self.losses(batch.to(self.device), tower > 0)
        self.modules.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.modules.parameters(), self.config.optimiser.max_grad_norm)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * (tower if group["is_tower"] else 1.0)
            optimiser.step()
        return {name: value.item() for name, value in found.items()}

    def run(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.resume()
        if not self.progress.pictures:
            torch.save(self.modules.state_dict(), stage_end(self.folder, START))
        while self.progress.stage < len(self.config.stages):
            stage = self.config.stages[self.progress.stage]
            self.run_stage(stage)
            torch.save(self.modules.state_dict(), stage_end(self.folder, stage.name))
            self.progress.stage, self.progress.step, self.progress.stage_seconds = self.progress.stage + 1, 0, 0.0
            self.save()

    def run_stage(self, stage: Stage) -> None:
        run, started, saved = self.config.run, time.monotonic(), time.monotonic()
        found: dict[str, list[float]] = defaultdict(list)  # since the last line of the log
        ticked = started
        for batch in self._loader(stage):
            rate = stage.learning_rate(self.progress.step, self.progress.stage_seconds)
            for name, value in self.step(batch, rate, stage.tower).items():
                found[name].append(value)
            self.progress.step += 1
            now = time.monotonic()
            self.progress.stage_seconds, ticked = self.progress.stage_seconds + now - ticked, now
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
            if stage.done(self.progress.step, self.progress.stage_seconds) >= 1:
                return

    def _loader(self, stage: Stage) -> DataLoader[Batch]:
        batches = Batches(self.config.model, stage, self.tokenizer, self.config.run.seed)
        rest = range(self.progress.step, stage.steps)
        return DataLoader(
            batches,
            batch_size=None,
            sampler=rest,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            worker_init_fn=_leave_signals_to_the_trainer,
        )

    def _log(self, stage: Stage, found: dict[str, list[float]], seconds: float) -> None:
        rate = len(found["joined_left_accuracy"]) * stage.pictures / seconds
        line = {"stage": stage.name, "step": self.progress.step, "pictures": self.progress.pictures,
                "seconds": round(self.progress.seconds), "cpu_s": round(time.process_time()),
                "pictures_per_s": round(rate, 1)}  # fmt: skip
        asked = {name: [value for value in values if not math.isnan(value)] for name, values in found.items()}
        line |= {name: round(sum(values) / len(values), 4) for name, values in asked.items() if values}
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
        """Remove log lines after the checkpoint: these steps are repeated and logged again."""
        log = self.folder / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        kept = [line for line in lines if json.loads(line)["pictures"] <= self.progress.pictures]
        log.write_text("".join(f"{line}\n" for line in kept))


def stage_end(folder: Path, stage: str) -> Path:
    """The file with the weights after a stage."""
    return folder / f"{stage}.pt"


def name_loss(answers: tuple[dict[str, Tensor], Tensor], targets: NameTargets) -> tuple[Tensor, dict[str, Tensor]]:
    """A head's loss for names, the error of its measures, and the share of right answers for each choice."""
    logits, measures = answers
    each = (measures.float() - targets.measures)[targets.is_placed].abs()
    found = {"measures": each.mean() if len(each) else each.sum()}
    loss = MEASURES_WEIGHT * found["measures"]
    for name, meant in targets.choices.items():
        loss = loss + NAME_WEIGHTS.get(name, OTHER_NAME_WEIGHT) * token_loss(logits[name], meant)
        found[f"{name}_accuracy"] = _accuracy(logits[name], meant)
    return loss, found


def dense_loss(answers: tuple[dict[str, Tensor], Tensor], targets: PatchTargets) -> tuple[Tensor, dict[str, Tensor]]:
    """A head's loss for patches, its terms, and the share of right answers on patches of things."""
    logits, measures = answers
    is_thing = targets.choices["kind"] >= FIRST_THING
    each = (measures.float() - targets.measures)[is_thing].abs()
    found = {"measures": each.mean() if len(each) else each.sum()}
    loss = MEASURES_WEIGHT * found["measures"]
    for name, meant in targets.choices.items():
        is_asked = meant != IGNORE
        weights = torch.where(is_thing, 1.0, BACKGROUND_WEIGHT)[is_asked]
        found[name] = token_loss(logits[name][is_asked], meant[is_asked], weights)
        found[f"{name}_accuracy"] = _accuracy(logits[name][is_thing], meant[is_thing])
        loss = loss + CHOICE_WEIGHTS.get(name, OTHER_WEIGHT) * found[name]
    return loss, found


def _accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """The share of targets that have the largest logit."""
    return (logits.argmax(-1) == targets)[targets != IGNORE].float().mean().detach()


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C reaches all processes, but workers must run until the checkpoint is written."""
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, signal.SIG_IGN)


def _device(wanted: str) -> str:
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def share_out(run: Run, cores: int, is_cpu: bool) -> tuple[int, int]:
    """Threads that train and processes that draw: the run's settings, or as many as the cores allow."""
    drawing = cores // 4 if is_cpu else cores
    workers = drawing if run.workers is None else run.workers
    return run.threads or max(1, cores - workers), workers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    config = read_config(parser.parse_args().config)
    trainer = Trainer(config)
    dtype = str(precision(trainer.device)).removeprefix("torch.")
    threads, drawing = torch.get_num_threads(), trainer.workers or "no"
    print(f"Training on {trainer.device} in {dtype}: {threads} threads, {drawing} processes that draw", flush=True)
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, trainer.stop)
    trainer.run()


if __name__ == "__main__":
    main()
