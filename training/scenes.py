"""The table of kinds of scene, and a scene from its kind, seed and number."""

import random
from collections.abc import Callable

from training.charts import chart_scene, unnamed_scene
from training.photos import photo_scene
from training.scene import Scene
from training.shapes import large_scene, many_scene, plain_scene, shapes_scene
from training.writing import labelled_scene, page_scene, text_scene, words_scene

SCENES: dict[str, Callable[[random.Random], Scene]] = {
    "large": large_scene, "plain": plain_scene, "shapes": shapes_scene, "many": many_scene,
    "page": page_scene, "text": text_scene, "words": words_scene, "labelled": labelled_scene,
    "chart": chart_scene, "photo": photo_scene,
}  # fmt: skip
# Asked about in plain words only: the other questions name bars by what is written there.
ASKED_PLAINLY: dict[str, Callable[[random.Random], Scene]] = {"unnamed": unnamed_scene}
HELD_OUT: dict[str, Callable[[random.Random], Scene]] = SCENES | {
    "text": lambda rng: text_scene(rng, held_out=True),
    "words": lambda rng: words_scene(rng, held_out=True),
    "labelled": lambda rng: labelled_scene(rng, held_out=True),
    "chart": lambda rng: chart_scene(rng, held_out=True),
    "photo": lambda rng: photo_scene(rng, held_out=True),
}  # in fonts, words and photographs that training does not use


def make_scene(kind: str, seed: int, index: int, held_out: bool = False) -> Scene:
    """Sample `index` of `seed`: always the same scene on a machine with the same fonts."""
    return ((HELD_OUT if held_out else SCENES) | ASKED_PLAINLY)[kind](random.Random(f"{kind}/{seed}/{index}"))
