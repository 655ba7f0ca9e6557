"""Measures a tower on held-out pictures: the share of things' patches for which its heads are right.

    python -m training.patches training/mini.toml training/tower --heads training/tower/heads.safetensors

It shows within a minute whether a tower is good enough, or how two towers compare. The evaluation (evaluate.py) needs a
decoder.
"""

import argparse
import math
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from training.config import read_config
from training.data import views_of
from training.heads import dense_heads, load_heads
from training.model import DenseHead, ModelConfig, Phi3V
from training.precision import autocast
from training.scene import draw
from training.scenes import make_scene
from training.start import start_from
from training.targets import CHOICES, scene_targets, together
from training.tasks import SEED
from training.train import dense_loss

SCENES = ("plain", "shapes", "many", "text", "labelled", "chart")


def known(model: Phi3V, head: DenseHead, config: ModelConfig, kind: str, count: int) -> dict[str, float]:
    """For each choice, the share of right answers for `count` held-out scenes of the kind; NaN if there are none."""
    scenes = [make_scene(kind, SEED, index, held_out=True) for index in range(count)]
    pictures = [draw(scene) for scene in scenes]
    meant = [scene_targets(*shown, config, 1).patches for shown in zip(scenes, pictures, strict=True)]
    views = torch.cat([views_of(picture, config.crop_size, 1)[0] for picture in pictures])
    with torch.no_grad(), autocast(views.device):
        answers = head(model.encode(views.float()))
    _, found = dense_loss(answers, together(meant))
    return {name: found[f"{name}_accuracy"].item() for name in CHOICES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="of a run with the tower's sizes")
    parser.add_argument("folder", type=Path, help="an exported model")
    parser.add_argument("--heads", type=Path, required=True, help="what was exported beside it")
    parser.add_argument("--count", type=int, default=120, help="pictures of each kind of scene")
    arguments = parser.parse_args()
    config = read_config(arguments.config).model
    model, heads = Phi3V(config), dense_heads(config)
    start_from(model, Tokenizer.from_file(str(arguments.folder / "tokenizer.json")), arguments.folder)
    load_heads(heads, arguments.heads)
    head = heads[0]
    assert isinstance(head, DenseHead)
    table = Table("patches right", *SCENES)
    rows = [known(model, head, config, kind, arguments.count) for kind in SCENES]
    for name in CHOICES:
        table.add_row(name, *("" if math.isnan(row[name]) else f"{row[name]:.3f}" for row in rows))
    Console().print(table)


if __name__ == "__main__":
    main()
