"""What frameworks are asked for: a shape, as an object of a class or as the arguments of a call.

They take a class or a function each in its own way; all report the fields as an object.
"""

from __future__ import annotations

from pydantic import BaseModel

NAME = "shape"
DESCRIPTION = "Say which shape is in the picture."
MAX_TOKENS = 200


class Shape(BaseModel):
    """A shape in the picture."""

    name: str
    sides: int


def shape(name: str, sides: int) -> str:
    """Say which shape is in the picture."""
    return f"{name}: {sides}"
