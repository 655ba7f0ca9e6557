"""Training in the small: resumable batches, packing, prompt text, export, and a loss that falls."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from training.config import Optimiser, Run, Stage, TrainingConfig, read_config
from training.data import Batches, num_image_tokens, pack
from training.export import export
from training.model import IGNORE, ModelConfig
from training.questions import Conversation, Turn
from training.scene import make_scene
from training.tokenizer import BOS, END, IMAGE, SPECIAL_TOKENS, prompt_tokens, train_tokenizer
from training.train import Trainer

MODEL = ModelConfig(112, 32, 2, 2, 64, 64, 2, 2, 96, 400, num_crops=4)
STAGE = Stage("crops", 4, ["shapes"], 3, 1, 3e-3, 3e-3, num_crops=[4], answers=True)
MINI = Path(__file__).parents[2] / "training/mini.toml"


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(MODEL.vocab_size, seed=1, num_conversations=50)


@pytest.fixture
def config(tmp_path: Path, tokenizer: Tokenizer) -> TrainingConfig:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    run = Run(str(tmp_path), seed=1, threads=1, workers=0, checkpoint_every_s=1e9, log_every=2)
    return TrainingConfig(run, MODEL, Optimiser([0.9, 0.98], 0.95, 0.0, 1.0), (STAGE,))


def test_a_batch_depends_on_its_number_alone(tokenizer: Tokenizer) -> None:
    first, second = (Batches(MODEL, STAGE, tokenizer, 1)[2] for _ in range(2))
    other = Batches(MODEL, STAGE, tokenizer, 1)[1]
    assert first.text
    assert second.text
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.text.token_ids, second.text.token_ids)
    assert first.pixels.shape != other.pixels.shape or not torch.equal(first.pixels, other.pixels)


def test_the_prompt_is_cut_at_the_picture_and_only_answers_are_learned(tokenizer: Tokenizer) -> None:
    scene = make_scene("shapes", 1, 1)
    turns = (Turn("describe", "What is this?", "A red circle.", scene), Turn("thanks", "Thanks!", "You are welcome."))
    ids, labels = prompt_tokens(tokenizer, Conversation("Be brief.", turns), [3])
    expected = (
        "<s><|system|>\nBe brief.<|end|>\n<|user|>\n<|image|><|image|><|image|><s>\nWhat is this?<|end|>\n"
        "<|assistant|>\n"
        "A red circle.<|end|>\n<|user|>\nThanks!<|end|>\n<|assistant|>\nYou are welcome.<|end|>"
    )
    assert tokenizer.decode(ids, skip_special_tokens=False) == expected
    assert ids == tokenizer.encode(expected, add_special_tokens=False).ids
    learned = [token for token in labels if token != IGNORE]
    assert tokenizer.decode(learned, skip_special_tokens=False) == "A red circle.<|end|>You are welcome.<|end|>"


def test_a_picture_after_the_question_has_its_own_piece(tokenizer: Tokenizer) -> None:
    turn = Turn("describe", "What is this?", "A red circle.", make_scene("shapes", 1, 1), picture_first=False)
    ids, _ = prompt_tokens(tokenizer, Conversation(None, (turn,)), [1])
    assert tokenizer.decode(ids, skip_special_tokens=False).startswith(
        "<s><|user|>\nWhat is this?<|image|><s>\n<|end|>\n<|assistant|>\n"
    )


def test_special_tokens_have_the_ids_that_the_code_gives_them(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))
    assert tokenizer.decode(tokenizer.encode("naïve 图片 ~").ids) == "naïve 图片 ~"


@pytest.mark.parametrize(("grid", "count"), [((1, 1), 41), ((2, 2), 93), ((1, 4), 89), ((2, 1), 61)])
def test_image_token_counts(grid: tuple[int, int], count: int) -> None:
    assert num_image_tokens(grid, side=4) == count


def test_packed_conversations_do_not_see_one_another(config: TrainingConfig) -> None:
    model = Trainer(config).model.eval()
    one, two = ([BOS, 300, 301, END], [IGNORE] * 4), ([BOS, 302, 303, END], [IGNORE] * 4)
    together, alone = pack([one, two]), pack([two])
    nothing = torch.empty(0)
    with torch.no_grad():
        packed = model.decode(together.token_ids, together.owners, together.image_mask, nothing, [])[0, 4:8]
        single = model.decode(alone.token_ids, alone.owners, alone.image_mask, nothing, [])[0, :4]
    torch.testing.assert_close(packed, single, atol=1e-4, rtol=0)


def test_features_fill_the_image_positions(config: TrainingConfig, tokenizer: Tokenizer) -> None:
    batch = Batches(MODEL, STAGE, tokenizer, 1)[0]
    assert batch.text
    side = MODEL.patches_per_side // 2
    assert (batch.text.token_ids == IMAGE).sum() == sum(num_image_tokens(grid, side) for grid in batch.grids)
    features = Trainer(config).model.model.vision_embed_tokens(torch.zeros(len(batch.pixels), 64, 32), batch.grids)
    assert len(features) == batch.text.image_mask.sum()


def test_training_lowers_the_loss(config: TrainingConfig, tokenizer: Tokenizer) -> None:
    trainer = Trainer(config)
    batch = Batches(MODEL, STAGE, tokenizer, 1)[0]
    losses = [trainer.step(batch, 3e-3) for _ in range(8)]
    assert losses[-1]["answer"] < losses[0]["answer"] - 0.3
    assert losses[-1]["kind"] < losses[0]["kind"]


def test_a_stopped_run_goes_on_where_it_was(config: TrainingConfig) -> None:
    stopped = Trainer(config)
    stopped.stop()
    with pytest.raises(SystemExit):
        stopped.run()
    resumed = Trainer(config)
    resumed.resume()
    assert resumed.progress.step == 1
    resumed.run()
    (Path(config.run.folder) / "checkpoint.pt").unlink()
    whole = Trainer(config)
    whole.run()
    assert torch.equal(resumed.model.lm_head.weight, whole.model.lm_head.weight)


def test_an_export_is_in_the_published_layout(config: TrainingConfig, tmp_path: Path) -> None:
    Trainer(config).save()
    export(config, tmp_path / "model")
    names = set(load_file(tmp_path / "model/model.safetensors"))
    golden = Path(__file__).parents[1] / "data/golden/phi3_v"
    published = {name for name in load_file(golden / "model.safetensors") if "layers.2." not in name}
    assert names == published
    written, reference = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "model", golden))
    assert set(reference) <= set(written)


def test_the_committed_configuration_is_valid() -> None:
    config = read_config(MINI)
    assert config.stages[-1].answers
    assert config.stages[-1].last_lr == 0
