"""Training targets for each patch of a picture: choices between named answers, and measures.

Most targets concern more than the patch: which letter of a word it shows, how many shapes are of its kind, where its
shape is. Some hundred targets a picture teach the tower more than the few tokens of an answer would. The decoder then
only has to read them from the features. Heads that are not exported make the predictions.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training import marks
from training.colours import COLOURS
from training.model import IGNORE, ModelConfig
from training.photos import nearest
from training.preprocess import padded
from training.scene import Scene, Shape, cover, letter_cover
from training.shape_questions import PLACES, in_order, place_of
from training.shapes import KINDS
from training.writing import CHARACTERS

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Boxes = tuple[Ints, Ints, Ints, Ints, Ints]  # of all things of a view: see `_boxes`
PADDING = 255  # in a cover mask: outside of the picture
PATCH_KINDS = ("background", "padding", "letter", "bar", *KINDS)
FIRST_THING = 2  # in PATCH_KINDS
PATCH_COLOURS = tuple(COLOURS)
ROLES = ("text", "title", "label", "value", "tick")  # of writing
SIZES = ("largest", "smallest", "between")
MOST = 12  # of letters of a word, of words, of things; the last answer means this many or more
MIN_COVER = 0.3  # least share of a patch for a shape to own it
MIN_LETTER_COVER = 0.15
CLEARLY_LARGER = 1.3  # times the area

CHOICES: dict[str, int] = {
    "kind": len(PATCH_KINDS),
    "colour": len(PATCH_COLOURS),
    "letter": len(CHARACTERS),  # the letter that covers most of the patch
    "place": MOST,  # of that letter in its word, from 0
    "rest": MOST,  # letters that follow it in its word
    "left": 1 + len(CHARACTERS),  # the letter with its middle in the patch's left half; 0: none
    "left_place": 1 + MOST,
    "right": 1 + len(CHARACTERS),
    "right_place": 1 + MOST,
    "member": MOST,  # index of the shape from the left, the bar or the word; labels and values have their bar's
    "role": len(ROLES),
    "same_kind": MOST,  # shapes of the patch's kind
    "same_colour": MOST,
    "count": MOST,  # shapes in the picture
    "where": len(PLACES),
    "size": len(SIZES),
    "rank": MOST,  # of a bar, 0: the highest; labels and values have their bar's
}
IN_HALVES = ("left", "left_place", "right", "right_place")
# Distances from the patch's middle to the ends of its thing's box, the share of the box that the thing fills, and the
# middle of the box; lengths in crops. Such smooth targets make patches attend to each other early in training.
MEASURES = ("left", "top", "right", "bottom", "filled", "x", "y")
# Names in questions and answers have more targets. One is whether a thing of the second picture differs from the first,
# another what the first picture shows in its place. Others are how many of the named things each picture shows, and how
# two named things compare.
NAME_CHOICES = {name: size for name, size in CHOICES.items() if name not in IN_HALVES}
NAME_CHOICES |= {"changed": 2, "first_kind": len(PATCH_KINDS), "first_colour": len(PATCH_COLOURS)}
NAME_CHOICES |= {"in_first": MOST, "in_second": MOST}
NAME_CHOICES |= {name: len(answers) for name, answers in marks.COMPARED.items()}


@dataclass
class PatchTargets:
    choices: dict[str, Tensor]  # of CHOICES: [N, L], IGNORE where a choice has no meaning
    measures: Tensor  # [N, L, MEASURES], of the thing as far as the view shows it

    def to(self, device: torch.device) -> "PatchTargets":
        choices = {name: answers.to(device) for name, answers in self.choices.items()}
        return PatchTargets(choices, self.measures.to(device))


@dataclass
class Things:
    """The shapes or the letters of a picture."""

    answers: dict[str, Ints]  # of CHOICES: [2 + things], the answers for padding, background and each thing
    boxes: Boxes  # in the global view, in pixels
    owners: Ints  # [ways to own, L] of the global view: -1 padding, 0 background, i + 1 thing i

    def positions(self, number: int) -> list[int]:
        """The positions (2x2 joined patches) of the global view that show the thing, counted row by row."""
        return np.nonzero(joined((self.owners == number + 1).any(0)))[0].tolist()

    def place(self, number: int, crop_size: int) -> Floats | None:
        """[MEASURES] of the thing, its ends measured from the left and the top of the view; None if it is too small."""
        if not self.boxes[-1][number]:
            return None
        left, top, right, bottom, pixels = (float(ends[number]) for ends in self.boxes)
        filled = pixels / max(1, (right - left) * (bottom - top)) * crop_size
        ends = (left, top, right, bottom, filled, (left + right) / 2, (top + bottom) / 2)
        return np.array(ends, np.float32) / np.float32(crop_size)


@dataclass
class SceneTargets:
    patches: PatchTargets
    shapes: Things
    letters: Things

    def written(self, member: int) -> list[int]:
        """Positions of the global view that show a letter of this word, or of the writing at this bar."""
        numbers = np.nonzero(self.letters.answers["member"][2:] == member)[0].tolist()
        return [place for number in numbers for place in self.letters.positions(number)]


Name = tuple[int, str, list[SceneTargets]]  # a token of the text, the mark that it ends, the pictures that it is about


@dataclass
class NameTargets:
    """Targets of tokens that end a name: facts about the named thing."""

    tokens: Tensor  # [M]: indices of the tokens in the text
    choices: dict[str, Tensor]  # of NAME_CHOICES: [M]
    measures: Tensor  # [M, MEASURES]
    is_placed: Tensor  # [M]: whether the name means one thing; only then are its measures used

    def to(self, device: torch.device) -> "NameTargets":
        choices = {name: answers.to(device) for name, answers in self.choices.items()}
        return NameTargets(self.tokens.to(device), choices, self.measures.to(device), self.is_placed.to(device))


def scene_targets(scene: Scene, image: Image.Image, config: ModelConfig, num_crops: int) -> SceneTargets:
    """The targets of each patch of each view, the global view first, and of each thing; `image` is the drawn scene."""
    written, letters = letter_cover(scene)
    shape_answers, letter_answers = _about_shapes(scene), _about_letters(scene)
    found, seen = list[tuple[dict[str, Ints], Floats]](), list[tuple[Things, Things]]()
    views = (_views_of_mask(mask, config, num_crops) for mask in (cover(scene), written))
    own_colours = _patch_colours(image, config, num_crops) if scene.photo_colours else []
    for number, (shapes, inks) in enumerate(zip(*views, strict=True)):
        owners = _owners(shapes, config, len(scene.shapes), MIN_COVER)
        readers = _owners(inks, config, len(letters), MIN_LETTER_COVER)
        shape_boxes, letter_boxes = _boxes(shapes, len(scene.shapes)), _boxes(inks, len(letters))
        halves = _halves(letter_boxes, config)
        readers = np.where(readers > 0, readers, np.maximum(readers, halves.max(0)))
        seen.append(
            (
                Things(shape_answers, shape_boxes, owners[None]),
                Things(letter_answers, letter_boxes, np.vstack([readers, halves])),
            )
        )
        is_letter = readers > 0
        choices = {}
        for name in CHOICES:
            whose = halves[int(name.startswith("right"))] if name in IN_HALVES else readers
            of_letter, of_shape = letter_answers[name][whose + 1], shape_answers[name][owners + 1]
            choices[name] = np.where(is_letter, of_letter, of_shape)
        if scene.photo_colours:
            choices["colour"] = np.where(owners < 0, IGNORE, own_colours[number])
        measures = np.where(
            is_letter[:, None],
            _measures(letter_boxes, config, readers),
            _measures(shape_boxes, config, owners),
        )
        found.append((choices, measures))
    patches = PatchTargets(
        {name: torch.from_numpy(np.stack([choices[name] for choices, _ in found])) for name in CHOICES},
        torch.from_numpy(np.stack([measures for _, measures in found])),
    )
    return SceneTargets(patches, *seen[0])


def joined(of_patches: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[L] of a view's patches -> [L / 4]: whether it is true for any of the 2x2 patches of each position."""
    side = round(len(of_patches) ** 0.5)
    return of_patches.reshape(side // 2, 2, side // 2, 2).any((1, 3)).ravel()


def name_targets(found: list[Name], crop_size: int) -> NameTargets:
    """The targets of each token with a mark."""
    choices = {name: torch.full((len(found),), IGNORE) for name in NAME_CHOICES}
    measures, is_placed = torch.zeros(len(found), len(MEASURES)), torch.zeros(len(found), dtype=torch.bool)
    for row, (_, mark, pictures) in enumerate(found):
        answers, place = _meant(mark, pictures, crop_size)
        for name, answer in answers.items():
            choices[name][row] = answer
        if place is not None:
            measures[row], is_placed[row] = torch.from_numpy(place), True
    return NameTargets(torch.tensor([token for token, _, _ in found], dtype=torch.long), choices, measures, is_placed)


def _meant(mark: str, pictures: list[SceneTargets], crop_size: int) -> tuple[dict[str, int], Floats | None]:
    """The targets of a mark, and its thing's measures if it is one thing."""
    code = ord(mark)
    if code < ord(marks.READ):
        picture, number = (0, code - marks.LETTERS) if marks.is_letter(mark) else marks.shape_of(mark)
        things = pictures[picture].letters if marks.is_letter(mark) else pictures[picture].shapes
        known = {name: int(answers[number + 2]) for name, answers in things.answers.items() if name in NAME_CHOICES}
        return known, things.place(number, crop_size)
    if mark in (marks.UNCHANGED, marks.CHANGED):
        return {"changed": int(mark == marks.CHANGED)}, None
    if mark == marks.NOTHING:
        return {"kind": PATCH_KINDS.index("background")}, None
    if marks.is_compared(mark):
        return dict([marks.comparison_of(mark)]), None
    if marks.is_word(mark):
        return {"member": code - marks.WORDS}, None
    if code >= marks.AT_PLACE:
        return shown_at(code - marks.AT_PLACE, pictures[0].patches), None
    if code >= marks.IN_PICTURES:
        first, second = divmod(code - marks.IN_PICTURES, 16)
        return {"in_first": first, "in_second": second}, None
    if code >= marks.OF_COLOUR:
        return {"same_colour": code - marks.OF_COLOUR}, None
    return {"same_kind": code - marks.OF_KIND}, None


def shown_at(place: int, patches: PatchTargets) -> dict[str, int]:
    """The targets for the thing that 2x2 patches of the global view show; for the ground if they show none."""
    kinds, colours = patches.choices["kind"][0], patches.choices["colour"][0]
    side = round(len(kinds) ** 0.5)
    first = place // (side // 2) * 2 * side + place % (side // 2) * 2
    shown = max((first, first + 1, first + side, first + side + 1), key=lambda patch: int(kinds[patch]))
    return {"first_kind": int(kinds[shown]), "first_colour": int(colours[shown])}


def together(targets: list[PatchTargets]) -> PatchTargets:
    return PatchTargets(
        {name: torch.cat([one.choices[name] for one in targets]) for name in CHOICES},
        torch.cat([one.measures for one in targets]),
    )


def _answers(count: int) -> dict[str, Ints]:
    """For each choice, the answers for padding, background and `count` things; all IGNORE so far."""
    return {name: np.full(2 + count, IGNORE) for name in CHOICES}


def _about_shapes(scene: Scene) -> dict[str, Ints]:
    shapes, found = scene.shapes, _answers(len(scene.shapes))
    kinds, colours = (Counter(getattr(shape, name) for shape in shapes) for name in ("kind", "colour"))
    found["kind"][:2] = PATCH_KINDS.index("padding"), PATCH_KINDS.index("background")
    found["colour"][1] = PATCH_COLOURS.index(scene.background)
    if not scene.writings and not scene.photo_colours:
        found["count"][1] = len(shapes)
    ranks = {shape: rank for rank, shape in enumerate(in_order(scene))}
    bar_ranks = _bar_ranks(scene)
    for number, shape in enumerate(shapes, 2):
        found["kind"][number] = PATCH_KINDS.index(shape.kind)
        found["colour"][number] = PATCH_COLOURS.index(shape.colour)
        found["count"][number] = len(shapes)
        found["same_colour"][number] = colours[shape.colour]
        if scene.chart:
            found["member"][number] = number - 2
            found["rank"][number] = bar_ranks[number - 2]
            continue
        found["member"][number] = ranks[shape]
        found["same_kind"][number] = kinds[shape.kind]
        found["size"][number] = _size(shape, shapes)
        place = place_of(scene, shape)
        found["where"][number] = PLACES.index(place) if place else IGNORE
    return found


def _bar_ranks(scene: Scene) -> list[int]:
    """0 for the highest bar, and so on."""
    values = scene.chart.values if scene.chart else ()
    heights = sorted(values, reverse=True)
    return [heights.index(value) for value in values]


def _size(shape: Shape, shapes: tuple[Shape, ...]) -> int:
    others = [one.area for one in shapes if one is not shape]
    if not others:
        return IGNORE
    if shape.area > CLEARLY_LARGER * max(others):
        return SIZES.index("largest")
    if shape.area * CLEARLY_LARGER < min(others):
        return SIZES.index("smallest")
    is_between = max(others) > CLEARLY_LARGER * shape.area and shape.area > CLEARLY_LARGER * min(others)
    return SIZES.index("between") if is_between else IGNORE


@dataclass(frozen=True)
class _Letter:
    character: str
    colour: str
    place: int  # in its word
    rest: int
    member: int  # IGNORE: it is the only one
    role: str


def _letters(scene: Scene) -> list[_Letter]:
    """The visible characters, in the order of `letter_cover`."""
    words = [
        (word, writing.colour, role, bar)
        for writing, (role, bar) in zip(scene.writings, _roles(scene), strict=True)
        for word in writing.text.split()
    ]
    is_counted = not scene.chart and len(words) <= MOST
    return [
        _Letter(character, colour, place, len(word) - place - 1, number if is_counted else bar, role)
        for number, (word, colour, role, bar) in enumerate(words)
        for place, character in enumerate(word)
    ]


def _roles(scene: Scene) -> list[tuple[str, int]]:
    """The role of each writing, and its bar."""
    if not scene.chart:
        return [("text", IGNORE)] * len(scene.writings)
    title = [("title", IGNORE)] if scene.chart.title else []
    each = ("label", "value") if scene.chart.shows_values else ("label",)
    of_bars = [(role, bar) for bar in range(len(scene.chart.labels)) for role in each]
    return title + of_bars + [("tick", IGNORE)] * len(scene.chart.ticks)


def _about_letters(scene: Scene) -> dict[str, Ints]:
    letters, bar_ranks = _letters(scene), _bar_ranks(scene)
    found = _answers(len(letters))
    for name in IN_HALVES:
        found[name][1] = 0
    for number, letter in enumerate(letters, 2):
        place = min(letter.place, MOST - 1)
        character = CHARACTERS.index(letter.character)
        found["kind"][number] = PATCH_KINDS.index("letter")
        found["colour"][number] = PATCH_COLOURS.index(letter.colour)
        found["letter"][number] = character
        found["place"][number] = place
        found["rest"][number] = min(letter.rest, MOST - 1)
        found["left"][number] = found["right"][number] = 1 + character
        found["left_place"][number] = found["right_place"][number] = 1 + place
        found["member"][number] = letter.member
        found["role"][number] = ROLES.index(letter.role)
        if letter.role in ("label", "value"):
            found["rank"][number] = bar_ranks[letter.member]
    return found


def _views_of_mask(mask: NDArray[np.uint8], config: ModelConfig, num_crops: int) -> list[NDArray[np.uint8]]:
    crop, image = config.crop_size, Image.fromarray(mask)
    return _views(padded(image, crop, num_crops, fill=PADDING, nearest=True), crop)


def _views(pixels: NDArray[np.uint8], crop: int) -> list[NDArray[np.uint8]]:
    """[h crop, w crop, ...] -> the global view and the crops, [crop, crop, ...] each; only the crop if there is one."""
    (rows, columns), depth = (length // crop for length in pixels.shape[:2]), pixels.shape[2:]
    if rows == columns == 1:
        return [pixels]
    overview = np.asarray(Image.fromarray(pixels).resize((crop, crop), Image.Resampling.NEAREST))
    tiles = pixels.reshape(rows, crop, columns, crop, *depth).swapaxes(1, 2).reshape(-1, crop, crop, *depth)
    return [overview, *tiles]


def _patch_colours(image: Image.Image, config: ModelConfig, num_crops: int) -> list[Ints]:
    """[L] for each view: the colour nearest to the mean of each patch."""
    side, patch, found = config.patches_per_side, config.patch_size, list[Ints]()
    for view in _views(padded(image, config.crop_size, num_crops), config.crop_size):
        means = view.reshape(side, patch, side, patch, 3).mean((1, 3)).reshape(-1, 3)
        found.append(np.array([PATCH_COLOURS.index(nearest(tuple(mean))) for mean in means.tolist()]))
    return found


def _owners(mask: NDArray[np.uint8], config: ModelConfig, count: int, min_cover: float) -> Ints:
    """[crop, crop] -> [L]: -1 padding, 0 background, i + 1 thing i of `count`."""
    side, patch = config.patches_per_side, config.patch_size
    pixels = mask.reshape(side, patch, side, patch).swapaxes(1, 2).reshape(side * side, -1)
    places = np.arange(side * side)[:, None] * 256 + pixels
    counts = np.bincount(places.ravel(), minlength=side * side * 256).reshape(-1, 256)
    shares = counts[:, 1 : count + 1] / patch**2
    owners = np.where(shares.max(1) >= min_cover, shares.argmax(1) + 1, 0) if count else np.zeros(len(pixels), int)
    return np.where(counts[:, PADDING] > patch**2 / 2, -1, owners)


def _boxes(mask: NDArray[np.uint8], count: int) -> Boxes:
    """Left, top, right and bottom ends and pixels of each thing; 0 pixels if the view does not show it."""
    ys, xs = np.nonzero((mask > 0) & (mask != PADDING))
    numbers = mask[ys, xs].astype(int) - 1
    left, top = np.full(count, len(mask)), np.full(count, len(mask))
    right, bottom = np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(left, numbers, xs)
    np.minimum.at(top, numbers, ys)
    np.maximum.at(right, numbers, xs + 1)
    np.maximum.at(bottom, numbers, ys + 1)
    return left, top, right, bottom, np.bincount(numbers, minlength=count)


def _halves(boxes: Boxes, config: ModelConfig) -> Ints:
    """[2, L]: i + 1 where the middle of letter i lies in the left or right half of one of its patches; else 0."""
    side, patch = config.patches_per_side, config.patch_size
    found, most = np.zeros((2, side, side), int), np.zeros((2, side, side))
    for number, (left, top, right, bottom, pixels) in enumerate(zip(*boxes, strict=True), 1):
        if not pixels:
            continue
        middle = (left + right) // 2
        half, column = middle % patch * 2 // patch, middle // patch
        for row in range(top // patch, (bottom - 1) // patch + 1):
            shown = min(bottom, (row + 1) * patch) - max(top, row * patch)
            if shown > max(most[half, row, column], min(patch * MIN_COVER, (bottom - top) / 2 - 1)):
                found[half, row, column], most[half, row, column] = number, shown
    return found.reshape(2, -1)


def _measures(boxes: Boxes, config: ModelConfig, owners: Ints) -> NDArray[np.float32]:
    """[L] -> [L, MEASURES]"""
    found = np.zeros((len(owners), len(MEASURES)), np.float32)
    is_thing = owners > 0
    if not is_thing.any():
        return found
    middles = (np.arange(config.patches_per_side) + 0.5) * config.patch_size
    x, y = np.tile(middles, len(middles))[is_thing], np.repeat(middles, len(middles))[is_thing]
    left, top, right, bottom, pixels = (ends[owners[is_thing] - 1] for ends in boxes)
    filled = pixels / np.maximum(1, (right - left) * (bottom - top)) * config.crop_size
    ends = (x - left, y - top, right - x, bottom - y, filled, (left + right) / 2, (top + bottom) / 2)
    found[is_thing] = np.stack(ends, 1) / config.crop_size
    return found
