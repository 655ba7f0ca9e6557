"""Scenes of writing: words, numbers and short lines in many fonts, alone, on busy grounds or beside shapes.

Fonts are those of the families below that the machine has. Some families and words are used only by the evaluation.
"""

import math
import random
import string
from dataclasses import replace
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from pydoc_data.topics import topics

from training.colours import BACKGROUNDS, COLOURS, Rgb, contrasts, tint
from training.scene import Box, Line, Scene, Texture, Writing, face
from training.shapes import Manner, canvas_size, ground, with_shapes, worn

FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "/Library/Fonts", "/System/Library/Fonts")
TRAINED_FONTS = (
    "DejaVu", "Liberation", "FreeSans", "FreeSerif", "FreeMono", "Lato", "OpenSans", "Hack", "Inconsolata", "Carlito",
    "C059", "NimbusSans", "NimbusRoman", "NimbusMono", "URWBookman", "URWGothic", "FiraCode", "Comfortaa", "NotoSans-",
    "NotoSerif-", "NotoMono", "NotoSansMono", "NotoSansDisplay", "NotoSerifDisplay", "LinLibertine_R",
    "AccanthisADFStd-", "Andika", "Anonymous Pro", "Arapey", "AveriaSans", "AveriaSerif", "B612", "BaskervaldADFStd-",
    "Cabin-", "Cardo", "CharisSIL", "ClearSans", "ComicNeue", "Courier Prime", "Dosis", "EBGaramond12", "Fanwood",
    "GFSArtemisia", "GFSDidot", "GFSNeohellenic", "GentiumPlus", "GilliusADF-", "Go-", "GoudyBookletter", "Inter-",
    "JetBrainsMono-", "Jura", "Karla-", "Karmilla", "LibrisADF", "Manrope", "OldStandard", "OpenDyslexic-", "Oxygen",
    "PT", "Play", "Prociono", "Quattrocento", "Quicksand", "Rasa", "STIX-", "Sora", "Tuffy", "UniversalisADF", "Verana",
    "Vollkorn", "YanoneKaffeesatz", "Yrsa", "agave", "mononoki",
)  # fmt: skip
HELD_OUT_FONTS = ("Roboto", "Caladea", "Cantarell", "P052", "LinBiolinum_R")
UNREADABLE = (
    "Thin", "Hairline", "ExtraLight", "Math", "Symbol", "Dingbat", "Initials", "Keyboard", "Smallcaps", "Z003",
)  # fmt: skip
CHARACTERS = string.ascii_letters + string.digits + "!?.,:-%$&/'"
MIN_EM = 0.075  # of the picture's longer side; smaller letters are not legible in one view of 224 pixels
MIN_ADVANCE = 0.042  # of the longer side, of an average letter


@cache
def fonts(held_out: bool = False) -> tuple[str, ...]:
    """Font files, in a fixed order; matplotlib's where no known family is installed."""
    found: list[str] = []
    for folder in FONT_FOLDERS:
        files = Path(folder).expanduser().rglob("*.[ot]tf")
        found += [str(path) for path in files if _is_of(path.name, HELD_OUT_FONTS if held_out else TRAINED_FONTS)]
    return tuple(sorted(found, key=lambda path: Path(path).name)) or _matplotlib_fonts()


def _is_of(name: str, families: tuple[str, ...]) -> bool:
    return name.startswith(families) and not any(part in name for part in UNREADABLE)


def _matplotlib_fonts() -> tuple[str, ...]:
    import matplotlib

    files = sorted(Path(matplotlib.get_data_path(), "fonts/ttf").glob("DejaVuS*.ttf"))
    return tuple(str(path) for path in files if "Display" not in path.name)  # those have signs, not letters


@cache
def words(held_out: bool = False) -> tuple[str, ...]:
    """English words of 2 to 8 letters, from Python's own documentation; every eighth is used only by the evaluation."""
    found = sorted({word.lower() for text in topics.values() for word in text.split() if _is_word(word)})
    return tuple(word for number, word in enumerate(found) if (number % 8 == 0) == held_out)


def _is_word(word: str) -> bool:
    return word.isascii() and word.isalpha() and 2 <= len(word) <= 8


def word(rng: random.Random, held_out: bool = False) -> str:
    """A word in capitals, small letters or both; half of the training's words are invented."""
    if held_out or rng.random() < 0.5:
        letters = rng.choice(words(held_out))
    elif rng.random() < 0.6:
        letters = "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiouy") for _ in range(rng.randint(1, 3)))
        letters = (letters + rng.choice(("", "", *"nrstlkm")))[:8]
    else:
        letters = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 8)))
    return rng.choice((letters.upper(), letters.upper(), letters, letters.capitalize()))


def number(rng: random.Random) -> str:
    return str(rng.randint(0, 10 ** rng.randint(1, 5) - 1))


def lines_of_text(rng: random.Random, held_out: bool = False) -> tuple[str, ...]:
    """The lines of a writing: a word, a number, or a few of them in one or two lines."""
    sort = rng.choices(("word", "number", "line", "lines"), (5, 4, 2, 1))[0]
    if sort in ("word", "number"):
        return (word(rng, held_out) if sort == "word" else number(rng),)
    if sort == "line":
        return (_line(rng, held_out),)
    return (word(rng, held_out), rng.choice((word(rng, held_out), number(rng), _line(rng, held_out))))


def _line(rng: random.Random, held_out: bool) -> str:
    parts = [word(rng, held_out) for _ in range(rng.choice((2, 2, 3)))]
    if rng.random() < 0.3:
        parts[-1] = number(rng)
    case = rng.choice((str.upper, str.lower, str.title))
    return case(" ".join(parts)) + rng.choice(("", "", "", "!", "?", "."))


@lru_cache(4096)
def ink(text: str, font: str) -> tuple[float, float]:
    """Width and height of the text's ink, in em."""
    left, top, right, bottom = face(font, 100.0).getbbox(text)
    return (right - left) / 100, (bottom - top) / 100


def fitted(rng: random.Random, text: str, font: str, width: float, height: float, longer: int) -> float:
    """A size in pixels for the text in a box of width x height pixels; 0.0 if it would be too small to read."""
    em_width, em_height = ink(text, font)
    largest = min(width / em_width, height / em_height)
    smallest = max(MIN_EM * longer, MIN_ADVANCE * longer * len(text) / em_width)
    return rng.uniform(smallest, largest) if largest >= smallest else 0.0


def _written(
    rng: random.Random, scene: Scene, texts: tuple[str, ...], box: Box, manner: Manner, held_out: bool
) -> Scene:
    """The scene with these lines of text in the box, in one colour and font; unchanged if they do not fit."""
    colour = rng.choice([name for name in COLOURS if name != scene.background])
    rgb, font = tint(rng, colour, manner.pure), rng.choice(fonts(held_out))
    left, top, right, bottom = box
    row = (bottom - top) / len(texts)
    longer = max(scene.width, scene.height)
    degrees = rng.uniform(-20, 20) if len(texts) == 1 and rng.random() < 0.35 else 0.0
    room = (right - left) * (1 - abs(degrees) / 60), row * (0.9 - abs(degrees) / 100)
    sizes = [fitted(rng, text, font, *room, longer) for text in texts]
    if 0.0 in sizes or not contrasts(rgb, *_behind(scene)):
        return scene
    size = min(sizes)
    placed = [
        _somewhere(
            rng,
            Writing(text, colour, rgb, font, size, (0.0, 0.0), degrees),
            (left, top + row * n, right, top + row * (n + 1)),
        )
        for n, text in enumerate(texts)
    ]
    if any(outside(writing.box(), scene) for writing in placed):
        return scene
    return replace(scene, writings=(*scene.writings, *placed))


def _somewhere(rng: random.Random, writing: Writing, box: Box) -> Writing:
    """The same writing with all of its ink inside the box, if it fits."""
    left, top, right, bottom = writing.box()
    x = rng.uniform(box[0] - left, max(box[0] - left, box[2] - right))
    y = rng.uniform(box[1] - top, max(box[1] - top, box[3] - bottom))
    return replace(writing, centre=(x, y))


def outside(box: Box, scene: Scene) -> bool:
    return box[0] < 0 or box[1] < 0 or box[2] > scene.width or box[3] > scene.height


def _busy(rng: random.Random, scene: Scene) -> Scene:
    """A ground with a pattern: clouds of similar colours, a few lines or many."""
    base = scene.gradient[0]
    if rng.random() < 0.5:
        spread = rng.randint(10, 50)
        tones: tuple[Rgb, ...] = tuple(_near(rng, base, spread) for _ in range(rng.choice((2, 3))))
        return replace(
            scene, texture=Texture((base, *tones), rng.randint(2, 8), rng.randint(1, 3), rng.getrandbits(32))
        )
    size = scene.width, scene.height
    is_crowded = rng.random() < 0.5
    scribbles = [
        Line(
            (rng.uniform(0, size[0]), rng.uniform(0, size[1])),
            (rng.uniform(0, size[0]), rng.uniform(0, size[1])),
            _faint(rng, base) if is_crowded else _near(rng, base, 60),
            rng.uniform(1, 0.01 * max(size) + 1),
        )
        for _ in range(rng.randint(15, 60) if is_crowded else rng.randint(3, 12))
    ]
    return replace(scene, lines=tuple(scribbles))


def _behind(scene: Scene) -> tuple[Rgb, ...]:
    """The colours from which writing must differ."""
    return *(scene.texture.colours if scene.texture else scene.gradient), *(line.rgb for line in scene.lines)


def _faint(rng: random.Random, base: Rgb) -> Rgb:
    """A random colour, mixed mostly from the ground's."""
    share = rng.uniform(0.15, 0.4)
    red, green, blue = (round(level + share * (rng.randrange(256) - level)) for level in base)
    return red, green, blue


def _near(rng: random.Random, rgb: Rgb, spread: int) -> Rgb:
    red, green, blue = (min(255, max(0, level + rng.randint(-spread, spread))) for level in rgb)
    return red, green, blue


def text_scene(rng: random.Random, held_out: bool = False) -> Scene:
    """One or two lines of text and nothing else."""
    manner = Manner(BACKGROUNDS, gradients=0.1, pure=rng.random() < 0.5)
    scene = Scene(1, 1, "white", ((255,) * 3, (255,) * 3), False, ())
    while not scene.writings:
        size = canvas_size(rng)
        scene = ground(rng, size, manner)
        if rng.random() < 0.3:
            scene = _busy(rng, scene)
        margin = 0.04 * min(size)
        box = (margin, margin, size[0] - margin, size[1] - margin)
        scene = _written(rng, scene, lines_of_text(rng, held_out), box, manner, held_out)
    return worn(rng, scene)


def words_scene(rng: random.Random, held_out: bool = False) -> Scene:
    """Two to nine words and numbers, each by itself in a colour and font of its own."""
    manner = Manner(BACKGROUNDS, gradients=0.1, pure=rng.random() < 0.5)
    scene = Scene(1, 1, "white", ((255,) * 3, (255,) * 3), False, ())
    while len(scene.writings) < 2:
        size = canvas_size(rng)
        scene = ground(rng, size, manner)
        if rng.random() < 0.2:
            scene = _busy(rng, scene)
        columns, rows = rng.choice(((1, 2), (1, 3), (2, 2), (2, 3), (2, 4), (3, 3)))
        for row, column in product(range(rows), range(columns)):
            box = (
                (column + 0.04) * size[0] / columns, (row + 0.04) * size[1] / rows,
                (column + 0.96) * size[0] / columns, (row + 0.96) * size[1] / rows,
            )  # fmt: skip
            if rng.random() < 0.85:
                text = number(rng) if rng.random() < 0.25 else word(rng, held_out)
                scene = _written(rng, scene, (text,), box, manner, held_out)
    return worn(rng, scene)


def labelled_scene(rng: random.Random, held_out: bool = False) -> Scene:
    """One to three shapes and a word or number above or below them."""
    manner = Manner({"white": 4.0, "black": 1.0, "grey": 1.0}, pure=True)
    scene = Scene(1, 1, "white", ((255,) * 3, (255,) * 3), False, ())
    while not (scene.writings and scene.shapes):
        size = rng.choice((224, 256, 320, 400)), rng.choice((224, 256, 320, 400))
        scene = ground(rng, size, manner)
        top, bottom = (0.72, 0.97) if rng.random() < 0.5 else (0.03, 0.28)
        band = (0.03 * size[0], top * size[1], 0.97 * size[0], bottom * size[1])
        text = rng.choice((word(rng, held_out), number(rng)))
        scene = _written(rng, scene, (text,), band, manner, held_out)
        wanted = rng.choice((1, 1, 2, 3))
        taken = (-1.0, band[1], size[0] + 1.0, band[3])
        scene = with_shapes(rng, scene, wanted, (0.2, 0.5 if wanted < 3 else 0.35), manner, [taken])
    return worn(rng, scene)


def page_scene(rng: random.Random) -> Scene:
    """A picture full of lines in many fonts and sizes: the tower learns letters from it, without questions."""
    side = rng.choice((224, 224, 260, 320))
    manner = Manner(BACKGROUNDS, gradients=0.1)
    scene = ground(rng, (side, side), manner)
    if rng.random() < 0.2:
        scene = _busy(rng, scene)
    behind = _behind(scene)
    written, top = list[Writing](), 0.01 * side
    while top < 0.9 * side and sum(len(writing.text) for writing in written) < 160:
        colour = rng.choice([name for name in COLOURS if name != scene.background])
        rgb, font = tint(rng, colour), rng.choice(fonts())
        em = side * MIN_EM * math.exp(rng.uniform(0, 1.3))
        text = _as_long_as(rng, font, 0.96 * side / em)
        width, height = (em * extent for extent in ink(text, font))
        if text and contrasts(rgb, *behind) and top + height < side:
            x = rng.uniform(0.01 * side, max(0.01 * side, 0.99 * side - width)) + width / 2
            written.append(Writing(text, colour, rgb, font, em, (x, top + height / 2), rng.uniform(-2, 2)))
            top += height + rng.uniform(0.02, 0.05) * side
        else:
            top += 0.01 * side
    return worn(rng, replace(scene, writings=tuple(written)))


def _as_long_as(rng: random.Random, font: str, width: float) -> str:
    """Words, numbers and single characters of about `width` em; empty if not even a letter fits."""
    text = ""
    while True:
        loose = "".join(rng.choices(CHARACTERS, k=rng.randint(1, 4)))
        more = " ".join(filter(None, (text, rng.choice((word(rng), number(rng), loose)))))
        if ink(more, font)[0] > width:
            return text or next((one for one in more if ink(one, font)[0] <= width), "")
        text = more
