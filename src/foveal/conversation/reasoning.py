"""Reasoning: the marks between which a model thinks before it answers, and whether a prompt has opened them.

Which marks a checkpoint has is found in its template, since templates write, remove or look for them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Marks:
    """What stands before and after reasoning. White space around it is no part of it."""

    open: str
    close: str


KNOWN = (
    Marks("<think>", "</think>"),
    Marks("[THINK]", "[/THINK]"),
    Marks("<|channel>thought", "<channel|>"),
    Marks("<seed:think>", "</seed:think>"),
    Marks("<thinking>", "</thinking>"),
)


def marks_in(template: str) -> Marks | None:
    """The marks that a template knows of."""
    return next((marks for marks in KNOWN if marks.close in template), None)


def is_open(prompt: str, marks: Marks) -> bool:
    """Whether a prompt (its markup alone) ends inside reasoning."""
    return prompt.rfind(marks.open) > prompt.rfind(marks.close)


def is_closed(prompt: str, marks: Marks) -> bool:
    """Whether a prompt ends right after reasoning, so that there is none to come."""
    return prompt.rstrip().endswith(marks.close)
