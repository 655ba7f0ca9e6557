"""Attention targets: which image positions a conversation's tokens should attend to. One head of a layer learns them.

The last token of a name in a question should attend to the named thing. So should the token before a name or a letter
in an answer. Positions of the second of two pictures should attend to the same positions of the first. They also have
targets for what the first picture shows there, and whether it is the same. The loss of the answers alone would have to
develop this from attention that is spread over hundreds of tokens.
"""

from dataclasses import replace

import numpy as np

from training import marks
from training.conversations import Conversation
from training.scene import Scene
from training.targets import PATCH_KINDS, SceneTargets, joined, shown_at
from training.tokenizer import IMAGE, Tokens

BAR = PATCH_KINDS.index("bar")


def look(tokens: Tokens, conversation: Conversation, seen: list[SceneTargets], side: int) -> None:
    """Adds attention targets to the conversation's tokens; `side` is the positions a side of its pictures."""
    views = overviews(tokens.ids, side)
    for when in ("asked", "said"):
        named = [(token, place) for token, mark in getattr(tokens, when) for place in places_of(mark, seen)]
        tokens.looks[when] += [(token, views[picture][place]) for token, (picture, place) in named]
    if len(views) == 2:
        first, second = views
        tokens.looks["back"] += zip(second, first, strict=True)
        tokens.asked += [(second[place], mark) for place, mark in second_looks(seen)]
        tokens.said += [(second[place], mark) for place, mark in changes(conversation.pictures, seen)]


def overviews(ids: list[int], side: int) -> list[list[int]]:
    """Which tokens stand for the positions of each picture's global view, row by row."""
    ends = [number for number, token in enumerate(ids) if token != IMAGE and ids[number - 1] == IMAGE]
    rows = [range(end - side * (side + 1), end, side + 1) for end in ends]
    return [[row + column for row in starts for column in range(side)] for starts in rows]


def places_of(mark: str, seen: list[SceneTargets]) -> list[tuple[int, int]]:
    """Pictures and positions that show the thing of a mark, if it is one thing.

    For a shape of the first of two pictures these include its positions in the second. Only the second picture's tokens
    can attend to both pictures, so only they can represent that a shape is missing.
    """
    if marks.is_letter(mark):
        return [(0, place) for place in seen[0].letters.positions(ord(mark) - marks.LETTERS)]
    if marks.is_word(mark):
        return [(0, place) for place in seen[0].written(ord(mark) - marks.WORDS)]
    if not marks.is_shape(mark):
        return []
    picture, number = marks.shape_of(mark)
    shapes = seen[picture].shapes
    places = shapes.positions(number)
    if shapes.answers["kind"][number + 2] == BAR:  # a bar's name is only in its label
        places += seen[picture].written(number)
    pictures = (0, 1) if picture == 0 and len(seen) == 2 else (picture,)
    return [(which, place) for which in pictures for place in places]


def second_looks(seen: list[SceneTargets]) -> list[tuple[int, str]]:
    """Marks for positions of the second of two pictures, counted row by row: what the first picture shows there.

    Of the positions where both show the same, about as many get a mark as of the others. In a variation nearly all show
    the same. With marks for all of them, a position could name its own content and would be right nearly always.
    """
    shown = [[shown_at(place, its.patches) for place in range(len(its.shapes.owners[0]) // 4)] for its in seen]
    is_other = [first != second for first, second in zip(*shown, strict=True)]
    others, same = ([place for place, is_it in enumerate(is_other) if is_it == wanted] for wanted in (True, False))
    return [(place, marks.at_place(place)) for place in sorted(others + _as_many(same, others))]


def _as_many(places: list[int], others: list[int], least: int = 4) -> list[int]:
    """About as many of the places as there are others, evenly spread, but at least `least`."""
    return places[:: max(1, len(places) // max(least, len(others)))]


def changes(scenes: list[Scene], seen: list[SceneTargets]) -> list[tuple[int, str]]:
    """Marks for whether positions of the second picture differ from the first, if one is a variation of the other.

    Positions where neither has a shape get none. About as many unchanged positions as changed ones are marked, but at
    least 12. With fewer, one wrong position could make equal pictures "different".
    """
    if _without_shapes(scenes[0]) != _without_shapes(scenes[1]):
        return []
    kept = set(scenes[0].shapes) & set(scenes[1].shapes)
    owners = [its.shapes.owners[0] for its in seen]
    is_new, is_thing = (np.zeros(len(owners[0]), bool) for _ in range(2))
    for scene, its in zip(scenes, owners, strict=True):
        is_new |= np.isin(its, [number for number, shape in enumerate(scene.shapes, 1) if shape not in kept])
        is_thing |= its > 0
    new, thing = joined(is_new), joined(is_thing)
    changed, unchanged = np.nonzero(new)[0].tolist(), np.nonzero(thing & ~new)[0].tolist()
    return [
        *((place, marks.CHANGED) for place in changed),
        *((place, marks.UNCHANGED) for place in _as_many(unchanged, changed, least=12)),
    ]


def _without_shapes(scene: Scene) -> Scene:
    return replace(scene, shapes=())
