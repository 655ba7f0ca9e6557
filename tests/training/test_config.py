"""Configuration files: what they say, what they leave to their base, and that the committed ones follow one another."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from training.config import TrainingConfig, read_config
from training.export import export
from training.scenes import SCENES
from training.train import Trainer

COMMITTED = Path(__file__).parents[2] / "training"
ONE_STAGE = """
[[stage]]
name = "one"
scenes = "asked"
steps = 3
pictures = 1
warmup = 1
first_lr = 1.0
last_lr = 0.0
num_crops = [1]
answers = true
"""


def test_a_configuration_says_what_is_different_from_its_base(tmp_path: Path) -> None:
    mini, own = read_config(COMMITTED / "mini.toml"), tmp_path / "own.toml"
    own.write_text(f'base = "{COMMITTED}/mini.toml"\n[run]\nseed = 9\n[model]\nlayers = 2\n')
    assert read_config(own) == replace(mini, run=replace(mini.run, seed=9), model=replace(mini.model, layers=2))


def test_stages_of_its_own_take_the_place_of_all_of_the_others(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(f'base = "{COMMITTED}/mini.toml"\n{ONE_STAGE}')
    names = next(stage for stage in read_config(COMMITTED / "mini.toml").stages if stage.name == "names")
    assert [(stage.name, stage.scenes) for stage in read_config(own).stages] == [("one", names.scenes)]


@pytest.mark.slow
def test_the_committed_configurations_go_on_from_one_another(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """What `make train` does, with one step of each stage."""
    configs = [read_config(COMMITTED / f"{name}.toml") for name in ("tower", "mini", "finer", "charts")]
    for before, config in pairwise(configs):
        assert replace(before.model, crop_size=config.model.crop_size) == config.model
        assert config.run.start_from == f"{before.run.folder}/exported"
        assert config.run.start_heads == f"{before.run.folder}/heads.safetensors"
    assert all(SCENES.keys() >= stage.scenes.keys() for config in configs for stage in config.stages)
    exported, heads = str(tmp_path / "exported"), str(tmp_path / "heads.safetensors")
    for config in configs:
        short = shortened(config, tmp_path / Path(config.run.folder).name, tokenizer)
        if config.run.start_from:
            short = replace(short, run=replace(short.run, start_from=exported, start_heads=heads))
        trainer = Trainer(short)
        trainer.run()
        assert trainer.progress.stage == len(config.stages)
        export(short, Path(exported), Path(heads))
    assert configs[-1].stages[-1].answers
    assert configs[-1].stages[-1].last_lr == 0


def shortened(config: TrainingConfig, folder: Path, tokenizer: Tokenizer) -> TrainingConfig:
    """One step of two pictures for each stage, in this folder."""
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    run = replace(config.run, folder=str(folder), device="cpu", threads=1, workers=0)
    return replace(config, run=run, stages=tuple(replace(stage, steps=1, pictures=2) for stage in config.stages))
