"""The environment of conversation templates: a sandbox in which every template ends.

Checkpoints bring templates, and loading one renders it. Jinja's sandbox keeps a template from the machine, but not from
going on for ever, so each turn of a loop and each call of a macro counts, and products are bounded.
"""

from __future__ import annotations

import threading
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_STEPS = 500_000  # turns of loops and calls of macros in a text: 1024 messages take some thousands
MAX_SIZE = 1_000_000  # characters, items or bits of what an operator makes


class Sandbox(ImmutableSandboxedEnvironment):
    """Raises SecurityError where a template goes on for too long, or makes something too large."""

    intercepted_binops = frozenset({"+", "*", "**"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._taken = threading.local()

    def start(self) -> None:
        """A text is about to be made in this thread."""
        self._taken.steps = 0

    def step(self) -> None:
        """Called by templates, at each turn of a loop and in each macro."""
        self._taken.steps = getattr(self._taken, "steps", 0) + 1
        if self._taken.steps > MAX_STEPS:
            raise SecurityError("the template does not come to an end")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if _size_of(operator, left, right) > MAX_SIZE:
            raise SecurityError(f"{operator} makes something too large")
        return super().call_binop(context, operator, left, right)

    def _generate(self, source: nodes.Template, *arguments: Any, **options: Any) -> str:
        repeated: list[Any] = [*source.find_all((nodes.For, nodes.Macro, nodes.CallBlock))]
        for node in repeated:
            step = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
            node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        source.set_environment(self)
        return super()._generate(source, *arguments, **options)


def _size_of(operator: str, left: Any, right: Any) -> int:
    """How large the result is, roughly."""
    if operator == "+":
        return _length(left) + _length(right)
    if operator == "**":
        return (
            abs(int(right)) * _length(left)
            if isinstance(right, int | float) and abs(right) < MAX_SIZE
            else MAX_SIZE + 1
        )
    if isinstance(left, int) and isinstance(right, int):
        return _length(left) + _length(right)
    times = next((abs(value) for value in (left, right) if isinstance(value, int)), 1)
    return times * max(_length(value) for value in (left, right) if not isinstance(value, int)) if times else 0


def _length(value: Any) -> int:
    if isinstance(value, int):
        return value.bit_length()
    return len(value) if isinstance(value, str | list | tuple) else 1
