"""Training in the small: resumable batches, packing, export, and a loss that falls."""

import itertools
import json
import math
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from tests.training.conftest import MODEL
from training.colours import COLOURS
from training.config import Optimiser, Run, Stage, TrainingConfig
from training.data import Batches, Text, num_image_tokens, pack
from training.export import export
from training.heads import dense_heads, load_heads, save_heads
from training.looks import overviews
from training.model import IGNORE, VIEWS_AT_ONCE, DenseHead, Phi3V
from training.patches import known
from training.phrases import SYNONYMS
from training.precision import autocast
from training.questions import PRONOUNS
from training.shape_questions import PLACES, SIZE_WORDS
from training.shapes import KINDS
from training.start import start_from
from training.targets import CHOICES, MEASURES, PATCH_KINDS
from training.tokenizer import (
    BOS,
    END,
    IMAGE,
    Tokens,
)
from training.train import Trainer, share_out

STAGE = Stage("crops", 4, {"shapes": 1}, 3, 1, 3e-3, 3e-3, num_crops=[4], answers=True)


@pytest.fixture
def config(tmp_path: Path, tokenizer: Tokenizer) -> TrainingConfig:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    run = Run(str(tmp_path), seed=1, threads=1, workers=0, checkpoint_every_s=1e9, log_every=2)
    return TrainingConfig(run, MODEL, Optimiser([0.9, 0.98], 0.95, 0.0, 1.0), (STAGE,))


@pytest.mark.parametrize(("cores", "on_cpu", "on_gpu"), [(1, (1, 0), (1, 1)), (2, (2, 0), (1, 2)), (8, (6, 2), (1, 8))])
def test_a_run_that_does_not_say_takes_all_cores(
    config: TrainingConfig, cores: int, on_cpu: tuple[int, int], on_gpu: tuple[int, int]
) -> None:
    silent = replace(config.run, threads=None, workers=None)
    assert share_out(silent, cores, is_cpu=True) == on_cpu
    assert share_out(silent, cores, is_cpu=False) == on_gpu
    assert share_out(config.run, cores, is_cpu=True) == (1, 0)


def test_a_batch_depends_on_its_number_alone(tokenizer: Tokenizer) -> None:
    first, second = (Batches(MODEL, STAGE, tokenizer, 1)[2] for _ in range(2))
    other = Batches(MODEL, STAGE, tokenizer, 1)[1]
    assert first.text
    assert second.text
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.text.token_ids, second.text.token_ids)
    assert first.pixels.shape != other.pixels.shape or not torch.equal(first.pixels, other.pixels)


def test_kinds_of_scene_come_as_often_as_the_stage_says() -> None:
    rng = random.Random(3)
    drawn = [replace(STAGE, scenes={"chart": 3, "photo": 1}).a_kind(rng) for _ in range(2000)]
    assert set(drawn) == {"chart", "photo"}
    assert drawn.count("chart") / len(drawn) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize(("grid", "count"), [((0, 0), 21), ((1, 1), 41), ((2, 2), 93), ((1, 4), 89), ((2, 1), 61)])
def test_image_token_counts(grid: tuple[int, int], count: int) -> None:
    assert num_image_tokens(grid, side=4) == count


def decoded(model: Phi3V, text: Text) -> Tensor:
    with torch.no_grad():
        states = model.decode(
            text.token_ids, text.lengths, text.branches, text.positions, text.image_mask, torch.empty(0), []
        )
    return states[-1]


def packed(*conversations: Tokens) -> Text:
    return pack(list(conversations), [[] for _ in conversations], MODEL.crop_size)


def plain(ids: list[int], branches: list[int] | None = None, positions: list[int] | None = None) -> Tokens:
    length = len(ids)
    return Tokens(ids, [IGNORE] * length, positions or list(range(length)), branches or [0] * length)


def test_packed_conversations_do_not_see_one_another(config: TrainingConfig) -> None:
    model = Trainer(config).model.eval()
    one, two = [BOS, 300, 301, END], [BOS, 302, 303, END]
    both, single = decoded(model, packed(plain(one), plain(two))), decoded(model, packed(plain(two)))
    torch.testing.assert_close(both[4:], single, atol=1e-4, rtol=0)


def test_forks_do_not_see_one_another(config: TrainingConfig) -> None:
    model = Trainer(config).model.eval()
    forked = plain([BOS, 300, 301, END, 302, END], [0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 2, 3])
    got, alone = decoded(model, packed(forked)), decoded(model, packed(plain([BOS, 300, 302, END])))
    torch.testing.assert_close(got[4:6], alone[2:4], atol=1e-4, rtol=0)


def test_a_head_looks_where_the_decoder_does(config: TrainingConfig) -> None:
    """At its own conversation, at no other fork, and not ahead: shares of what it can see add up to one."""
    model = Trainer(config).model.eval()
    x, branches, positions = torch.randn(9, MODEL.width), [0, 0, 0, 0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2, 3, 2, 3]

    def share(*pairs: tuple[int, int]) -> list[float]:
        with torch.no_grad():
            shares, _ = model.attended(
                (1, 1), x, [3, 6], torch.tensor(branches), torch.tensor(positions), torch.tensor(pairs)
            )
        return shares.exp().tolist()

    assert share((2, 0), (2, 1), (2, 2)) == pytest.approx([1])
    assert share((7, 3), (7, 4), (7, 7)) == pytest.approx([1])
    assert share((6, 3), (6, 4), (6, 5)) < [1 - 1e-3]
    assert share((7, 5)) == share((7, 8)) == [0]
    assert share((2, 0), (7, 3), (2, 1), (7, 4), (2, 2), (7, 7)) == pytest.approx([1, 1])


def test_a_run_can_begin_with_an_exported_model_of_other_sizes(config: TrainingConfig, tmp_path: Path) -> None:
    """The same weights for what both know: the tower's patches, and the tokens of both vocabularies."""
    first = Trainer(config)
    first.save()
    export(config, tmp_path / "model")
    larger = Phi3V(replace(MODEL, crop_size=168, vocab_size=420))
    start_from(larger, first.tokenizer, tmp_path / "model")
    old, new = first.model.model, larger.model
    torch.testing.assert_close(new.embed_tokens.weight[:300], old.embed_tokens.weight[:300], atol=0.01, rtol=0.01)
    assert new.vision_embed_tokens.encode(torch.zeros(1, 3, 168, 168)).shape == (1, 144, 32)


def test_layers_that_a_model_folder_lacks_begin_without_effect(config: TrainingConfig, tmp_path: Path) -> None:
    first = Trainer(config)
    first.save()
    export(config, tmp_path / "model")
    deeper = Phi3V(replace(MODEL, vision_layers=MODEL.vision_layers + 1))
    start_from(deeper, first.tokenizer, tmp_path / "model")
    pixels = torch.randn(1, 3, MODEL.crop_size, MODEL.crop_size)
    torch.testing.assert_close(deeper.encode(pixels), first.model.encode(pixels), atol=0.05, rtol=0.05)


def test_heads_that_were_kept_know_what_they_knew_though_a_choice_has_grown(tmp_path: Path) -> None:
    first = dense_heads(MODEL)
    save_heads(first, tmp_path / "heads.safetensors")
    grown = dense_heads(MODEL)
    more = {**CHOICES, "role": CHOICES["role"] + 1, "new": 2}
    grown[0] = DenseHead(MODEL.vision_width, more, len(MEASURES))
    load_heads(grown, tmp_path / "heads.safetensors")
    patches = torch.randn(1, 16, MODEL.vision_width)
    (known, its_measures), (old, measures) = grown[0](patches), first[0](patches)
    near = partial(torch.testing.assert_close, atol=0.03, rtol=0.03)
    near(its_measures, measures)
    near(known["rank"], old["rank"])
    near(known["role"][..., :-1], old["role"])
    joined = torch.randn(1, 4, 4, MODEL.width)
    near(grown[1](joined)[0]["letter"], first[1](joined)[0]["letter"])


def test_what_a_tower_knows_is_told_of_things_alone() -> None:
    """A head that calls everything a circle is right about circles; of what is not there nothing is told."""
    head = DenseHead(MODEL.vision_width, CHOICES, len(MEASURES))
    with torch.no_grad():
        head.answers.weight.zero_()
        head.answers.bias.zero_()
        head.parts()["kind"][1][0, PATCH_KINDS.index("circle")] = 1.0
    shares = [known(Phi3V(MODEL), head, MODEL, kind, 30) for kind in ("plain", "text")]
    assert 0.02 < shares[0]["kind"] < 0.3  # one kind of eleven
    assert shares[1]["kind"] == 0
    assert math.isnan(shares[0]["letter"])
    assert 0 <= shares[1]["letter"] <= 1


def test_a_run_begins_with_kept_heads(config: TrainingConfig, tmp_path: Path) -> None:
    first = Trainer(config)
    first.save()
    export(config, tmp_path / "model", tmp_path / "heads.safetensors")
    run = replace(
        config.run,
        folder=str(tmp_path / "on"),
        start_from=str(tmp_path / "model"),
        start_heads=str(tmp_path / "heads.safetensors"),
    )
    second = Trainer(replace(config, run=run))
    for weight, kept in zip(second.modules.parameters(), first.modules.parameters(), strict=True):
        torch.testing.assert_close(weight, kept, atol=0.01, rtol=0.01)


@pytest.mark.parametrize(
    ("bfloat16", "expected"), [("fast", torch.bfloat16), ("slow", torch.float32), ("absent", torch.float32)]
)
def test_a_cpu_multiplies_in_what_it_is_faster_with(
    monkeypatch: pytest.MonkeyPatch, bfloat16: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr("training.precision.cpu_bfloat16", lambda: bfloat16)
    with autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_a_view_is_encoded_the_same_whatever_is_encoded_beside_it() -> None:
    model = Phi3V(MODEL)
    side = MODEL.crop_size
    views = torch.rand(2 * VIEWS_AT_ONCE + 1, 3, side, side)
    together = model.encode(views)
    assert len(together) == len(views)
    for view, found in zip(views, together, strict=True):
        torch.testing.assert_close(model.encode(view[None])[0], found, atol=1e-4, rtol=1e-4)


def test_positions_of_a_second_picture_are_told_to_look_at_the_same_ones_of_the_first(tokenizer: Tokenizer) -> None:
    one_view = replace(MODEL, num_crops=1)
    batch = Batches(one_view, replace(STAGE, num_crops=[1], compared=1.0, pictures=8), tokenizer, 1)[0]
    assert batch.text
    looks = batch.text.looks["back"]
    assert len(looks)
    assert len(looks) % 16 == 0  # of 4 x 4
    seconds, firsts = looks.T
    assert (batch.text.token_ids[looks] == IMAGE).all()
    between = num_image_tokens((1, 1), 4) + 2  # the end of a picture's piece and a line
    assert (seconds - firsts == between).all()
    changed = batch.text.said.choices["changed"]
    assert {0, 1} < set(changed.tolist())
    assert set(batch.text.said.tokens[changed != IGNORE].tolist()) <= set(seconds.tolist())


def test_names_and_letters_are_told_to_look_at_pictures_that_they_can_see(tokenizer: Tokenizer) -> None:
    batch = Batches(replace(MODEL, num_crops=1), replace(STAGE, scenes={"labelled": 1}, num_crops=[1]), tokenizer, 1)[0]
    text = batch.text
    assert text
    starts = torch.tensor(text.lengths).cumsum(0)
    for when, names in (("asked", text.asked), ("said", text.said)):
        looking, looked_at = text.looks[when].T
        assert len(looking)
        assert (text.token_ids[looked_at] == IMAGE).all()
        assert (looked_at < looking).all()
        owners = [torch.bucketize(tokens.contiguous(), starts, right=True) for tokens in (looking, looked_at)]
        assert torch.equal(*owners)  # each token's own conversation
        assert set(looking.tolist()) <= set(names.tokens.tolist())
    letters = text.said.tokens[text.said.choices["letter"] != IGNORE]
    assert len(set(letters.tolist()) & set(text.looks["said"][:, 0].tolist())) > 0.9 * len(letters)


@pytest.mark.parametrize(("which", "fall"), [("back", 0.3), ("asked", 0.3), ("said", 0.1)])
def test_heads_learn_to_look_there(config: TrainingConfig, tokenizer: Tokenizer, which: str, fall: float) -> None:
    one_view = replace(config, model=replace(MODEL, num_crops=1))
    batch = Batches(one_view.model, replace(STAGE, num_crops=[1], compared=1.0, pictures=8), tokenizer, 1)[0]
    trainer = Trainer(one_view)
    losses = [trainer.step(batch, 3e-3)[f"look_{which}"] for _ in range(12)]
    assert losses[-1] < losses[0] - fall


def test_the_head_over_joined_patches_answers_for_each_patch_in_its_place() -> None:
    """A head that passes on what it is given says of each patch what was joined of it."""
    side, width = 4, 3
    patches = torch.arange(side * side * width, dtype=torch.float32).reshape(1, side * side, width)
    joined = patches.reshape(1, 2, 2, 2, 2, width).permute(0, 1, 3, 2, 4, 5).reshape(1, 2, 2, 4 * width)
    head = DenseHead(4 * width, {"all": width}, 0, is_joined=True)
    with torch.no_grad():
        head.answers.weight.copy_(torch.eye(4 * width))
        head.answers.bias.zero_()
    normed = head.norm(joined).reshape(1, 2, 2, 2, 2, width).permute(0, 1, 3, 2, 4, 5).reshape(patches.shape)
    torch.testing.assert_close(head(joined)[0]["all"], normed)


def test_names_are_asked_at_their_own_tokens(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every marked name of a batch of questions stands where its mark was."""
    monkeypatch.setattr("training.questions.MISTYPED_SHARE", 0.0)
    batch = Batches(MODEL, replace(STAGE, scenes={"plain": 1}, num_crops=[1], pictures=8), tokenizer, 1)[1]
    assert batch.text
    token_ids, asked = batch.text.token_ids, batch.text.asked
    placed = [
        tokenizer.decode([int(token_ids[token])]).strip().lower()
        for token, is_placed in zip(asked.tokens, asked.is_placed, strict=True)
        if is_placed
    ]
    names = [name for kind in KINDS for name in SYNONYMS.get(kind, (kind,))]
    nouns = {name.split()[-1] for name in (*names, *PLACES, *itertools.chain(*SIZE_WORDS.values()))}
    nouns |= {*COLOURS, "gray", "shape", *(pronoun.split()[-1] for pronoun in PRONOUNS)}
    assert len(placed) > 5
    ends = {noun + plural for noun in nouns for plural in ("", "s", "es")}
    # Rare nouns are spelled here.
    assert [token for token in placed if not any(noun.endswith(token) for noun in ends)] == []


def test_positions_of_a_picture_are_counted_from_its_end() -> None:
    ids = [BOS, *[IMAGE] * num_image_tokens((1, 1), 4), END, *[IMAGE] * num_image_tokens((1, 1), 4), END]
    first, second = overviews(ids, 4)
    assert second[0] == len(ids) - 1 - 20
    assert second[15] == len(ids) - 1 - 2  # before the end of its row
    assert first[15] == ids.index(END) - 2


@pytest.mark.parametrize("num_crops", [0, 1, 4])
def test_features_fill_the_image_positions(num_crops: int, config: TrainingConfig, tokenizer: Tokenizer) -> None:
    batch = Batches(MODEL, replace(STAGE, num_crops=[num_crops]), tokenizer, 1)[0]
    assert batch.text
    side = MODEL.patches_per_side // 2
    assert (batch.text.token_ids == IMAGE).sum() == sum(num_image_tokens(grid, side) for grid in batch.grids)
    projected = torch.zeros(len(batch.pixels), side, side, MODEL.width)
    features = Trainer(config).model.model.vision_embed_tokens(projected, batch.grids)
    assert len(features) == batch.text.image_mask.sum()


def test_a_picture_that_is_shown_once_is_shown_as_its_global_view(config: TrainingConfig, tokenizer: Tokenizer) -> None:
    """What the server shows of a picture of one crop, without the first of its two views."""
    model, side = Trainer(config).model.model.vision_embed_tokens, MODEL.patches_per_side // 2
    projected = torch.randn(1, side, side, MODEL.width)
    once, twice = (model(projected, [grid]) for grid in ((0, 0), (1, 1)))
    assert torch.equal(once, twice[-len(once) :])
    one_view, stage = replace(MODEL, num_crops=1), replace(STAGE, compared=0.0)
    batches = [Batches(one_view, replace(stage, num_crops=[most]), tokenizer, 1)[0] for most in (0, 1)]
    assert [set(batch.grids) for batch in batches] == [{(0, 0)}, {(1, 1)}]
    for name in ("asked", "said"):
        backs = [its[:, 0] - its[:, 1] for its in (batch.text.looks[name] for batch in batches if batch.text)]
        assert torch.equal(*backs)  # as far as in the second view


def test_training_lowers_the_loss(config: TrainingConfig, tokenizer: Tokenizer) -> None:
    trainer = Trainer(config)
    batch = Batches(MODEL, STAGE, tokenizer, 1)[0]
    losses = [trainer.step(batch, 3e-3) for _ in range(8)]
    assert losses[-1]["answer"] < losses[0]["answer"] - 0.3
    assert losses[-1]["kind"] < losses[0]["kind"]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_tower_takes_its_share_of_the_learning_rate(
    share: float, config: TrainingConfig, tokenizer: Tokenizer
) -> None:
    """AdamW's first step is as long as the learning rate, whatever the gradient."""
    trainer = Trainer(config)
    trainer.step(Batches(MODEL, STAGE, tokenizer, 1)[0], 1e-3, share)
    weights = dict(trainer.model.named_parameters())
    tower = next(weight for name, weight in weights.items() if name.endswith("pre_layrnorm.weight"))
    moved = [(weight - 1).abs().max().item() for weight in (tower, weights["model.norm.weight"])]  # from ones
    assert moved == pytest.approx([share * 1e-3, 1e-3], rel=0.1)


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


def test_an_export_is_the_mean_of_its_stages_ends_by_their_shares(config: TrainingConfig, tmp_path: Path) -> None:
    stages = tuple(replace(STAGE, name=name, steps=1) for name in ("first", "second", "third"))
    trainer = Trainer(replace(config, stages=stages))
    began_with = trainer.model.lm_head.weight.clone()
    trainer.run()
    ends = {}
    shares = {"start": 0.4, "second": 0.1, "third": 0.5}
    for averaged in ({"start": 1.0}, {"second": 1.0}, {"third": 1.0}, shares, {}):
        export(replace(config, run=replace(config.run, averaged=averaged)), tmp_path / "model")
        ends[str(averaged)] = load_file(tmp_path / "model/model.safetensors")["lm_head.weight"].float()
    start, second, third, mean, checkpoint = ends.values()
    assert torch.equal(start, began_with.bfloat16().float())
    assert not torch.equal(second, third)
    torch.testing.assert_close(mean, 0.4 * start + 0.1 * second + 0.5 * third, atol=1e-3, rtol=0.01)
    assert torch.equal(checkpoint, third)
    with pytest.raises(FileNotFoundError, match="has not ended fourth yet"):
        export(replace(config, run=replace(config.run, averaged={"third": 0.5, "fourth": 0.5})), tmp_path / "model")
    with pytest.raises(ValueError, match="make them 1 together"):
        export(replace(config, run=replace(config.run, averaged={"second": 1.0, "third": 0.5})), tmp_path / "model")
