"""Batches from seeds: pictures, targets for each of their patches, and token sequences about them.

Batch i of a stage is always the same, whichever process makes it, so a run can be resumed at any step.
"""

import random
from dataclasses import dataclass
from itertools import accumulate

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from training.config import Stage
from training.conversations import Conversation, converse, without_picture
from training.looks import look
from training.model import ModelConfig
from training.preprocess import crops, normalise, padded
from training.scene import Scene, draw
from training.scenes import make_scene
from training.targets import (
    Name,
    NameTargets,
    PatchTargets,
    SceneTargets,
    name_targets,
    scene_targets,
    together,
)
from training.tokenizer import IMAGE, LOOKS, Tokens, prompt_tokens

Grid = tuple[int, int]  # crops down, crops across
TEXT_SHARE = 0.06  # conversations without a picture, for each picture


@dataclass
class Text:
    """Conversations, concatenated; each attends only to itself."""

    lengths: list[int]  # tokens of each conversation
    token_ids: Tensor  # [T]
    labels: Tensor  # [T], IGNORE where nothing is answered
    branches: Tensor  # [T]: the fork that a token belongs to; 0 for turns that the forks share
    positions: Tensor  # [T]
    image_mask: Tensor  # [T]
    asked: NameTargets  # targets of names in questions
    said: NameTargets  # targets of names in answers, of comparisons, and of changes in a second picture
    looks: dict[str, Tensor]  # of LOOKS: [K, 2], a token and one that it should attend to

    def to(self, device: torch.device) -> "Text":
        there = {name: value.to(device) for name, value in vars(self).items() if name not in ("lengths", "looks")}
        looks = {name: pairs.to(device) for name, pairs in self.looks.items()}
        return Text(self.lengths, looks=looks, **there)


@dataclass
class Batch:
    pixels: Tensor  # [N, 3, crop, crop] bfloat16
    targets: PatchTargets
    grids: list[Grid]  # of each picture
    text: Text | None

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.pixels.to(device), self.targets.to(device), self.grids, self.text and self.text.to(device))


def views_of(image: Image.Image, crop_size: int, num_crops: int) -> tuple[Tensor, Grid]:
    """[views, 3, crop, crop], the global view first, and the grid of crops; a one-crop picture has one view."""
    pixels = padded(image, crop_size, num_crops)
    grid = pixels.shape[0] // crop_size, pixels.shape[1] // crop_size
    seen = normalise(torch.from_numpy(pixels.copy()))
    return (seen[None] if grid == (1, 1) else crops(seen, crop_size)), grid


def num_image_tokens(grid: Grid, side: int) -> int:
    """Positions of a picture, with `side` positions a side of a crop; for an empty grid those of the global view."""
    height, width = grid
    return (height * width + 1) * side * side + 1 + (height + 1) * side


def pack(conversations: list[Tokens], shown: list[list[SceneTargets]], crop_size: int) -> Text:
    """The conversations in order.

    `shown` are the targets of each one's pictures. Without pictures, a conversation's names have no targets.
    """
    lengths = [len(tokens.ids) for tokens in conversations]
    asked, said = list[Name](), list[Name]()
    looks: dict[str, list[tuple[int, int]]] = {name: [] for name in LOOKS}
    for start, tokens, pictures in zip(accumulate(lengths[:-1], initial=0), conversations, shown, strict=True):
        for name, pairs in tokens.looks.items():
            looks[name] += [(start + token, start + seen) for token, seen in pairs]
        if pictures:
            asked += [(start + place, mark, pictures) for place, mark in tokens.asked]
            said += [(start + place, mark, pictures) for place, mark in tokens.said]
    token_ids, labels, branches, positions = (
        torch.tensor([value for tokens in conversations for value in getattr(tokens, name)])
        for name in ("ids", "labels", "branches", "positions")
    )
    return Text(
        lengths,
        token_ids,
        labels,
        branches,
        positions,
        image_mask=token_ids == IMAGE,
        asked=name_targets(asked, crop_size),
        said=name_targets(said, crop_size),
        looks={name: torch.tensor(pairs, dtype=torch.long).reshape(-1, 2) for name, pairs in looks.items()},
    )


class Batches(Dataset[Batch]):
    """The batches of one stage; item i depends on nothing but the seed, the stage and i."""

    def __init__(self, config: ModelConfig, stage: Stage, tokenizer: Tokenizer, seed: int) -> None:
        self.config, self.stage, self.tokenizer, self.seed = config, stage, tokenizer, seed

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, index: int) -> Batch:
        rng = random.Random(f"{self.seed}/{self.stage.name}/{index}")
        num_crops, wanted = rng.choice(self.stage.num_crops), self.stage.pictures
        if not self.stage.answers:
            scenes = [make_scene(self.stage.a_kind(rng), rng.getrandbits(32), 0) for _ in range(wanted)]
            return make_batch(self.config, num_crops, self.tokenizer, scenes, [])
        conversations = [without_picture(rng) for _ in range(round(TEXT_SHARE * wanted))]
        while sum(len(made.pictures) for made in conversations) < wanted:
            conversations.append(converse(rng, self.stage.a_kind(rng), self.stage.compared, self.stage.plain))
        scenes = [picture for made in conversations for picture in made.pictures]
        return make_batch(self.config, num_crops, self.tokenizer, scenes, conversations)


def make_batch(
    config: ModelConfig, num_crops: int, tokenizer: Tokenizer, scenes: list[Scene], conversations: list[Conversation]
) -> Batch:
    """`scenes` are cut as Stage says; the conversations, if there are any, show these, in order."""
    images, cut = [draw(scene) for scene in scenes], max(1, num_crops)
    seen = [views_of(image, config.crop_size, cut) for image in images]
    targets = [scene_targets(scene, image, config, cut) for scene, image in zip(scenes, images, strict=True)]
    grids = [grid if num_crops else (0, 0) for _, grid in seen]
    return Batch(
        pixels=torch.cat([views.bfloat16() for views, _ in seen]),
        targets=together([one.patches for one in targets]),
        grids=grids,
        text=make_text(config, tokenizer, conversations, grids, targets) if conversations else None,
    )


def make_text(
    config: ModelConfig,
    tokenizer: Tokenizer,
    conversations: list[Conversation],
    grids: list[Grid],
    targets: list[SceneTargets],
) -> Text:
    """`grids` are those of the conversations' pictures, in order; so are `targets`."""
    side, end, made, seen = config.patches_per_side // 2, 0, list[Tokens](), []
    for conversation in conversations:
        start, end = end, end + len(conversation.pictures)
        counts = [num_image_tokens(grid, side) for grid in grids[start:end]]
        made.append(prompt_tokens(tokenizer, conversation, counts))
        seen.append(targets[start:end])
        look(made[-1], conversation, seen[-1], side)
    return pack(made, seen, config.crop_size)
