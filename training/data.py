"""Batches from seeds: pictures, what covers each of their patches, and token sequences about them.

Batch i of a stage is always the same, whichever process makes it, so a run can be resumed at any step.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from training.config import Stage
from training.model import IGNORE, ModelConfig
from training.preprocess import crops, normalise, padded
from training.questions import Conversation, with_pictures, without_picture
from training.scene import COLOURS, KINDS, Scene, cover, draw, make_scene
from training.tokenizer import IMAGE, UNKNOWN, prompt_tokens

PADDING = 255  # in a cover mask: outside of the picture
PATCH_KINDS = ("background", "padding", *KINDS)
FIRST_SHAPE = 2  # in PATCH_KINDS
PATCH_COLOURS = tuple(COLOURS)
MIN_COVER = 0.3  # of a patch, from which on it belongs to a shape


Grid = tuple[int, int]  # crops down, crops across
TEXT_SHARE = 0.1  # conversations without a picture, for each picture
PAIR_SHARE = 0.1  # of pictures that are followed by a second one in the same conversation


ROW_LENGTH = 320  # tokens; conversations are packed into rows of this many, or of the longest one's


@dataclass
class PatchTargets:
    """What the tower should know of each patch of each view."""

    kinds: Tensor  # [N, L] indices into PATCH_KINDS
    colours: Tensor  # [N, L] indices into PATCH_COLOURS, or IGNORE
    extents: Tensor  # [N, L, 5] of the shape, as far as the view shows it: see `_extents`


@dataclass
class Text:
    token_ids: Tensor  # [B, T]: several conversations a row, then padding
    labels: Tensor  # [B, T], IGNORE where nothing is answered
    owners: Tensor  # [B, T]: which conversation of its row a token belongs to
    image_mask: Tensor  # [B, T]


@dataclass
class Batch:
    pixels: Tensor  # [N, 3, crop, crop] bfloat16
    targets: PatchTargets
    grids: list[Grid]  # of each picture
    text: Text | None


def views_of(image: Image.Image, crop_size: int, num_crops: int) -> tuple[Tensor, Grid]:
    """[views, 3, crop, crop], the global view first, and the grid of crops; a one-crop picture has one view."""
    pixels = padded(image, crop_size, num_crops)
    grid = pixels.shape[0] // crop_size, pixels.shape[1] // crop_size
    views = crops(normalise(torch.from_numpy(pixels.copy())), crop_size)
    return (views[:1] if grid == (1, 1) else views), grid


def patch_targets(scene: Scene, config: ModelConfig, num_crops: int) -> PatchTargets:
    mask = padded(Image.fromarray(cover(scene)), config.crop_size, num_crops, fill=PADDING, nearest=True)
    views = _mask_views(mask, config.crop_size)
    owners = np.stack([_owners(view, config, len(scene.shapes)) for view in views])
    extents = np.stack([_extents(view, config, seen) for view, seen in zip(views, owners, strict=True)])
    kinds = [PATCH_KINDS.index(kind) for kind in ("padding", "background", *(shape.kind for shape in scene.shapes))]
    names = [scene.background, *(shape.colour for shape in scene.shapes)]
    colours = [IGNORE, *(PATCH_COLOURS.index(name) for name in names)]
    return PatchTargets(torch.tensor(kinds)[owners + 1], torch.tensor(colours)[owners + 1], torch.from_numpy(extents))


def _mask_views(mask: NDArray[np.uint8], crop: int) -> list[NDArray[np.uint8]]:
    rows, columns = mask.shape[0] // crop, mask.shape[1] // crop
    if rows == columns == 1:
        return [mask]
    overview = np.asarray(Image.fromarray(mask).resize((crop, crop), Image.Resampling.NEAREST))
    tiles = mask.reshape(rows, crop, columns, crop).swapaxes(1, 2).reshape(-1, crop, crop)
    return [overview, *tiles]


def _owners(mask: NDArray[np.uint8], config: ModelConfig, num_shapes: int) -> NDArray[np.int64]:
    """[crop, crop] -> [L]: -1 padding, 0 background, i + 1 shape i."""
    side, patch = config.patches_per_side, config.patch_size
    pixels = mask.reshape(side, patch, side, patch).swapaxes(1, 2).reshape(side * side, -1)
    shares = np.stack([(pixels == number).mean(1) for number in range(1, num_shapes + 1)] or [np.zeros(len(pixels))])
    owners = np.where(shares.max(0) >= MIN_COVER, shares.argmax(0) + 1, 0)
    return np.where((pixels == PADDING).mean(1) > 0.5, -1, owners)


def _extents(mask: NDArray[np.uint8], config: ModelConfig, owners: NDArray[np.int64]) -> NDArray[np.float32]:
    """[crop, crop], [L] -> [L, 5]: from the patch's middle to the left, top, right and bottom end of its shape, in
    crops, and how much of that box the shape fills.

    Learning these smooth quantities makes patches look at one another, which learning kinds alone takes long to do.
    """
    middles = (np.arange(config.patches_per_side) + 0.5) * config.patch_size
    x, y = np.tile(middles, len(middles)), np.repeat(middles, len(middles))
    extents = np.zeros((len(owners), 5), np.float32)
    for number in np.unique(owners[owners > 0]):
        inside = mask == number
        columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
        left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        filled = inside.sum() / ((right - left) * (bottom - top)) * config.crop_size
        each = np.stack([x - left, y - top, right - x, bottom - y, np.full_like(x, filled)], 1) / config.crop_size
        extents[owners == number] = each[owners == number]
    return extents


def num_image_tokens(grid: Grid, side: int) -> int:
    """Positions that a picture takes, with `side` positions a side of a crop."""
    height, width = grid
    return (height * width + 1) * side * side + 1 + (height + 1) * side


def pack(conversations: list[tuple[list[int], list[int]]]) -> Text:
    """Token ids and labels of conversations -> rows, the conversations in order; each will see only itself."""
    length = max(ROW_LENGTH, *(len(ids) for ids, _ in conversations))
    rows: list[list[tuple[list[int], list[int]]]] = [[]]
    for ids, labels in conversations:
        if sum(len(taken) for taken, _ in rows[-1]) + len(ids) > length:
            rows.append([])
        rows[-1].append((ids, labels))
    token_ids = torch.full((len(rows), length), UNKNOWN)
    labels_BT, owners = torch.full_like(token_ids, IGNORE), torch.full_like(token_ids, -1)
    for row, members in enumerate(rows):
        end = 0
        for number, (ids, labels) in enumerate(members):
            start, end = end, end + len(ids)
            token_ids[row, start:end], labels_BT[row, start:end] = torch.tensor(ids), torch.tensor(labels)
            owners[row, start:end] = number
    return Text(token_ids, labels_BT, owners, token_ids == IMAGE)


class Batches(Dataset[Batch]):
    """The batches of one stage; item i depends on nothing but the seed, the stage and i."""

    def __init__(self, config: ModelConfig, stage: Stage, tokenizer: Tokenizer, seed: int) -> None:
        self.config, self.stage, self.tokenizer, self.seed = config, stage, tokenizer, seed

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, index: int) -> Batch:
        rng = random.Random(f"{self.seed}/{self.stage.name}/{index}")
        scenes = [make_scene(rng.choice(self.stage.scenes), rng.getrandbits(32), 0) for _ in range(self.stage.pictures)]
        conversations = _conversations(rng, scenes) if self.stage.answers else []
        return make_batch(self.config, rng.choice(self.stage.num_crops), self.tokenizer, scenes, conversations)


def make_batch(
    config: ModelConfig, num_crops: int, tokenizer: Tokenizer, scenes: list[Scene], conversations: list[Conversation]
) -> Batch:
    """`scenes` are the conversations' pictures, in order, cut into at most so many crops."""
    seen = [views_of(draw(scene), config.crop_size, num_crops) for scene in scenes]
    targets = [patch_targets(scene, config, num_crops) for scene in scenes]
    grids = [grid for _, grid in seen]
    return Batch(
        pixels=torch.cat([views.bfloat16() for views, _ in seen]),
        targets=PatchTargets(
            torch.cat([target.kinds for target in targets]),
            torch.cat([target.colours for target in targets]),
            torch.cat([target.extents for target in targets]),
        ),
        grids=grids,
        text=make_text(config, tokenizer, conversations, grids) if conversations else None,
    )


def _conversations(rng: random.Random, scenes: list[Scene]) -> list[Conversation]:
    made, rest = [], list(scenes)
    while rest:
        taken = 2 if rng.random() < PAIR_SHARE else 1
        made.append(with_pictures(rng, rest[:taken]))
        rest = rest[taken:]
    return made + [without_picture(rng) for _ in range(round(TEXT_SHARE * len(scenes)))]


def make_text(config: ModelConfig, tokenizer: Tokenizer, conversations: list[Conversation], grids: list[Grid]) -> Text:
    """`grids` are those of the conversations' pictures, in order."""
    rest, rows = list(grids), []
    for conversation in conversations:
        shown = sum(turn.picture is not None for turn in conversation.turns)
        counts = [num_image_tokens(grid, config.patches_per_side // 2) for grid in rest[:shown]]
        rows.append(prompt_tokens(tokenizer, conversation, counts))
        rest = rest[shown:]
    return pack(rows)
