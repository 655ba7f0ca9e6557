"""A picture of two shapes, for questions about it."""

from training.scene import Scene, Shape


def box(kind: str, colour: str, left: float, top: float, side: float = 20) -> Shape:
    corners = ((left, top), (left + side, top), (left + side, top + side), (left, top + side))
    return Shape(kind, colour, (255, 0, 0), corners, 0)


WHITE = (255, 255, 255)
SCENE = Scene(100, 100, "white", (WHITE, WHITE), False, (box("square", "grey", 75, 40), box("circle", "red", 5, 5)))
