"""Questions about what sort of picture it is: a photograph, a drawing, a chart, or nothing but writing."""

import random

from training.facts import Found, Table, article, called
from training.scene import Scene

A_PHOTO = "This looks like a photograph, and I only know drawings, words and charts."
ANSWERS = {
    "photograph": A_PHOTO,
    "chart": "This is a bar chart.",
    "drawing": "This is a drawing.",
    "writing": "This is printed text.",
}
ASKED = ("photograph", "chart", "drawing")


def sort_of(scene: Scene) -> str:
    if scene.photo_colours:
        return "photograph"
    if scene.chart:
        return "chart"
    return "writing" if scene.writings and not scene.shapes else "drawing"


def _is_sort(rng: random.Random, scene: Scene) -> Found | None:
    sort, asked = sort_of(scene), rng.choice(ASKED)
    if asked == "drawing" and sort in ("chart", "writing"):  # charts and writing are drawings, too
        return None
    answer = ANSWERS[sort]
    yes_or_no = "Yes" if asked == sort else "No"
    return Found({"a_sort": article(called(rng, asked))}, f"{yes_or_no}, {answer[0].lower()}{answer[1:]}")


def _which_sort(rng: random.Random, scene: Scene) -> Found:
    return Found({}, ANSWERS[sort_of(scene)])


SORT_QUESTIONS: Table = {"is_sort": (1.5, _is_sort), "which_sort": (1.0, _which_sort)}
