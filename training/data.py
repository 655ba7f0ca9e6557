"""Batches from seeds: pictures, what covers each of their patches, and token sequences about them.

Batch i of a stage is always the same, whichever process makes it, so a run can be resumed at any step.
"""

import random
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from training.colours import COLOURS
from training.config import Stage
from training.conversations import Conversation, converse, without_picture
from training.model import IGNORE, ModelConfig
from training.preprocess import crops, normalise, padded
from training.scene import Scene, cover, draw, letter_cover
from training.scenes import make_scene
from training.shapes import KINDS
from training.tokenizer import IMAGE, UNKNOWN, Tokens, prompt_tokens
from training.writing import CHARACTERS

PADDING = 255  # in a cover mask: outside of the picture
PATCH_KINDS = ("background", "padding", "letter", "bar", *KINDS)
FIRST_THING = 2  # in PATCH_KINDS
PATCH_COLOURS = tuple(COLOURS)
MIN_COVER = 0.3  # of a patch, from which on it belongs to a shape
MIN_LETTER_COVER = 0.15


Grid = tuple[int, int]  # crops down, crops across
T = TypeVar("T", "PatchTargets", "Text")
TEXT_SHARE = 0.06  # conversations without a picture, for each picture
ROW_LENGTH = 480  # tokens; conversations are packed into rows of this many, or of the longest one's


@dataclass
class PatchTargets:
    """What the tower should know of each patch of each view."""

    kinds: Tensor  # [N, L] indices into PATCH_KINDS
    colours: Tensor  # [N, L] indices into PATCH_COLOURS, or IGNORE
    letters: Tensor  # [N, L] indices into CHARACTERS, or IGNORE
    extents: Tensor  # [N, L, 5] of the thing, as far as the view shows it: see `_extents`


@dataclass
class Text:
    token_ids: Tensor  # [B, T]: several conversations a row, then padding
    labels: Tensor  # [B, T], IGNORE where nothing is answered
    owners: Tensor  # [B, T]: which conversation of its row a token belongs to
    branches: Tensor  # [B, T]: which of its forks, 0 for what they share
    positions: Tensor  # [B, T]
    image_mask: Tensor  # [B, T]


@dataclass
class Batch:
    pixels: Tensor  # [N, 3, crop, crop] bfloat16
    targets: PatchTargets
    grids: list[Grid]  # of each picture that is asked about; the others are behind them
    text: Text | None

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            self.pixels.to(device), _moved(self.targets, device), self.grids, self.text and _moved(self.text, device)
        )


def _moved(tensors: T, device: torch.device) -> T:
    """The same record of tensors on the device."""
    return type(tensors)(**{name: value.to(device, non_blocking=True) for name, value in vars(tensors).items()})


def views_of(image: Image.Image, crop_size: int, num_crops: int) -> tuple[Tensor, Grid]:
    """[views, 3, crop, crop], the global view first, and the grid of crops; a one-crop picture has one view."""
    pixels = padded(image, crop_size, num_crops)
    grid = pixels.shape[0] // crop_size, pixels.shape[1] // crop_size
    seen = normalise(torch.from_numpy(pixels.copy()))
    return (seen[None] if grid == (1, 1) else crops(seen, crop_size)), grid


def patch_targets(scene: Scene, config: ModelConfig, num_crops: int) -> PatchTargets:
    written, letters = letter_cover(scene)
    shape_views, letter_views = (_views_of_mask(mask, config, num_crops) for mask in (cover(scene), written))
    found = [
        _view_targets(shapes, inks, config, scene, letters)
        for shapes, inks in zip(shape_views, letter_views, strict=True)
    ]
    return PatchTargets(*(torch.from_numpy(np.stack(column)) for column in zip(*found, strict=True)))


def _view_targets(
    shapes: NDArray[np.uint8],
    written: NDArray[np.uint8],
    config: ModelConfig,
    scene: Scene,
    letters: list[tuple[str, str]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Kinds, colours, letters and extents of one view's patches; letters count before what they stand on."""
    owners = _owners(shapes, config, len(scene.shapes), MIN_COVER)
    readers = _owners(written, config, len(letters), MIN_LETTER_COVER)
    is_letter = readers > 0
    kinds = [PATCH_KINDS.index(kind) for kind in ("padding", "background", *(shape.kind for shape in scene.shapes))]
    colours = [PATCH_COLOURS.index(name) for name in (scene.background, *(shape.colour for shape in scene.shapes))]
    inks = [PATCH_COLOURS.index(colour) for _, colour in letters]
    characters = [CHARACTERS.index(character) for character, _ in letters]
    return (
        np.where(is_letter, PATCH_KINDS.index("letter"), np.array(kinds)[owners + 1]),
        np.where(is_letter, np.array([IGNORE, IGNORE, *inks])[readers + 1], np.array([IGNORE, *colours])[owners + 1]),
        np.array([IGNORE, IGNORE, *characters])[readers + 1],
        np.where(is_letter[:, None], _extents(written, config, readers), _extents(shapes, config, owners)),
    )


def _views_of_mask(mask: NDArray[np.uint8], config: ModelConfig, num_crops: int) -> list[NDArray[np.uint8]]:
    image = Image.fromarray(mask)
    return _mask_views(padded(image, config.crop_size, num_crops, fill=PADDING, nearest=True), config.crop_size)


def _mask_views(mask: NDArray[np.uint8], crop: int) -> list[NDArray[np.uint8]]:
    rows, columns = mask.shape[0] // crop, mask.shape[1] // crop
    if rows == columns == 1:
        return [mask]
    overview = np.asarray(Image.fromarray(mask).resize((crop, crop), Image.Resampling.NEAREST))
    tiles = mask.reshape(rows, crop, columns, crop).swapaxes(1, 2).reshape(-1, crop, crop)
    return [overview, *tiles]


def _owners(mask: NDArray[np.uint8], config: ModelConfig, count: int, min_cover: float) -> NDArray[np.int64]:
    """[crop, crop] -> [L]: -1 padding, 0 background, i + 1 thing i of so many."""
    side, patch = config.patches_per_side, config.patch_size
    pixels = mask.reshape(side, patch, side, patch).swapaxes(1, 2).reshape(side * side, -1)
    shares = np.stack([(pixels == number).mean(1) for number in range(1, count + 1)] or [np.zeros(len(pixels))])
    owners = np.where(shares.max(0) >= min_cover, shares.argmax(0) + 1, 0)
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


def pack(conversations: list[Tokens]) -> Text:
    """Conversations -> rows, in order; each will see only itself."""
    length = max(ROW_LENGTH, *(len(tokens.ids) for tokens in conversations))
    rows: list[list[Tokens]] = [[]]
    for tokens in conversations:
        if sum(len(taken.ids) for taken in rows[-1]) + len(tokens.ids) > length:
            rows.append([])
        rows[-1].append(tokens)
    token_ids = torch.full((len(rows), length), UNKNOWN)
    text = Text(
        token_ids,
        torch.full_like(token_ids, IGNORE),
        torch.full_like(token_ids, -1),
        torch.zeros_like(token_ids),
        torch.zeros_like(token_ids),
        token_ids == IMAGE,
    )
    for row, members in enumerate(rows):
        end = 0
        for number, tokens in enumerate(members):
            start, end = end, end + len(tokens.ids)
            text.token_ids[row, start:end] = torch.tensor(tokens.ids)
            text.labels[row, start:end] = torch.tensor(tokens.labels)
            text.owners[row, start:end] = number
            text.branches[row, start:end] = torch.tensor(tokens.branches)
            text.positions[row, start:end] = torch.tensor(tokens.positions)
    text.image_mask = text.token_ids == IMAGE
    return text


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
            scenes = [make_scene(rng.choice(self.stage.scenes), rng.getrandbits(32), 0) for _ in range(wanted)]
            return make_batch(self.config, num_crops, self.tokenizer, scenes, [])
        conversations = [without_picture(rng) for _ in range(round(TEXT_SHARE * wanted))]
        while sum(len(made.pictures) for made in conversations) < wanted:
            conversations.append(converse(rng, rng.choice(self.stage.scenes)))
        scenes = [picture for made in conversations for picture in made.pictures]
        pages = [make_scene("page", rng.getrandbits(32), 0) for _ in range(self.stage.pages)]
        return make_batch(self.config, num_crops, self.tokenizer, scenes + pages, conversations)


def make_batch(
    config: ModelConfig, num_crops: int, tokenizer: Tokenizer, scenes: list[Scene], conversations: list[Conversation]
) -> Batch:
    """`scenes` are the conversations' pictures, in order, and perhaps more, cut into at most so many crops."""
    seen = [views_of(draw(scene), config.crop_size, num_crops) for scene in scenes]
    targets = [patch_targets(scene, config, num_crops) for scene in scenes]
    asked_about = sum(len(conversation.pictures) for conversation in conversations)
    grids = [grid for _, grid in seen[:asked_about]]
    return Batch(
        pixels=torch.cat([views.bfloat16() for views, _ in seen]),
        targets=PatchTargets(
            torch.cat([target.kinds for target in targets]),
            torch.cat([target.colours for target in targets]),
            torch.cat([target.letters for target in targets]),
            torch.cat([target.extents for target in targets]),
        ),
        grids=grids,
        text=make_text(config, tokenizer, conversations, grids) if conversations else None,
    )


def make_text(config: ModelConfig, tokenizer: Tokenizer, conversations: list[Conversation], grids: list[Grid]) -> Text:
    """`grids` are those of the conversations' pictures, in order."""
    rest, rows = list(grids), []
    for conversation in conversations:
        shown = len(conversation.pictures)
        counts = [num_image_tokens(grid, config.patches_per_side // 2) for grid in rest[:shown]]
        rows.append(prompt_tokens(tokenizer, conversation, counts))
        rest = rest[shown:]
    return pack(rows)
