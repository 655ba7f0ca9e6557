"""The environment of conversation templates: a sandbox in which every template ends.

Checkpoints bring templates, and loading one renders it. Jinja's sandbox keeps a template from the machine, but not from
going on for ever. So each turn of a loop and each call of a macro counts, and what operators, filters and methods make
of their arguments is bounded before they make it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from types import BuiltinMethodType
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_STEPS = 500_000  # turns of loops and calls of macros in a text: 1024 messages take some thousands
MAX_SIZE = 1_000_000  # characters, items or bits of what an operator, a filter or a method makes
_PER_STEP = 32  # characters or items that are looked at for the price of a step
_WIDTH = re.compile(r"\d+")  # in a format


class Sandbox(ImmutableSandboxedEnvironment):
    """Raises SecurityError where a template goes on for too long, or makes something too large."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=self._shown, **options)
        self._taken = threading.local()
        self.filters = {name: self._bounded(name, function) for name, function in self.filters.items()}

    def start(self) -> None:
        """A text is about to be made in this thread."""
        self._taken.steps = 0

    def step(self, number: int = 1) -> None:
        """Called by templates, at each turn of a loop and in each macro."""
        self._taken.steps = getattr(self._taken, "steps", 0) + number
        if self._taken.steps > MAX_STEPS:
            raise SecurityError("the template does not come to an end")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self._check(_size_of(operator, left, right), operator)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, called: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(called, BuiltinMethodType):  # of a text or a list; `step` is none
            subject = called.__self__
            self._check(_size_by(called.__name__, [subject, *arguments, *options.values()]), called.__name__)
        return super().call(context, called, *arguments, **options)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """What a template gets as the `format` of a text."""
        function = super().wrap_str_format(value)
        if function is None:
            return None

        @wraps(function)
        def bounded(*arguments: Any, **options: Any) -> str:
            self._check(_most([value.__self__, *arguments, *options.values()]), "format")
            return function(*arguments, **options)

        return bounded

    def concatenate(self, *parts: Any) -> str:
        """The operator ~."""
        self._check(sum(map(_length, parts)), "~")
        return "".join(map(str, parts))

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)  # with the mark of jinja2, which says whether it wants the context first
        def bounded(*arguments: Any, **options: Any) -> Any:
            given = [a for a in (*arguments, *options.values()) if isinstance(a, _MEASURED)]
            self._check(_size_by(name, given), name)
            return function(*arguments, **options)

        return bounded

    def _shown(self, value: Any) -> Any:
        """What is about to be printed."""
        if not isinstance(value, str):
            self._check(_length(value), "printing")
        return value

    def _check(self, size: int, what: str) -> None:
        self.step(min(size, MAX_SIZE) // _PER_STEP)
        if size > MAX_SIZE:
            raise SecurityError(f"{what} makes something too large")

    def _generate(self, source: nodes.Template, *arguments: Any, **options: Any) -> str:
        repeated: list[Any] = [*source.find_all((nodes.For, nodes.Macro, nodes.CallBlock))]
        for node in repeated:
            step = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
            node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        _replace_concat(source)
        source.set_environment(self)
        return super()._generate(source, *arguments, **options)


_MEASURED = (str, int, list, tuple, dict)
# Filters and methods that fill a width, and those that write an argument for each piece of another.
_FILL = {"center", "expandtabs", "format", "format_map", "indent", "ljust", "rjust", "tojson", "wordwrap", "zfill"}
_REPEAT = {"batch", "join", "replace", "slice", "translate", "urlize", "xmlattr"}


def _replace_concat(node: nodes.Node) -> None:
    """`a ~ b` becomes a call: of the operators it alone cannot be intercepted."""
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(node, name, _without_concat(value))
        elif isinstance(value, list):
            value[:] = [_without_concat(item) if isinstance(item, nodes.Node) else item for item in value]


def _without_concat(node: nodes.Node) -> nodes.Node:
    _replace_concat(node)
    if not isinstance(node, nodes.Concat):
        return node
    return nodes.Call(nodes.EnvironmentAttribute("concatenate"), node.nodes, [], None, None, lineno=node.lineno)


def _size_of(operator: str, left: Any, right: Any) -> int:
    """How large the result is, roughly."""
    if operator == "+":
        return _length(left) + _length(right)
    if operator == "%":
        return _most([left, right]) if isinstance(left, str) else 1
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


def _size_by(name: str, arguments: list[Any]) -> int:
    """How large what a filter or a method makes may be."""
    return _most(arguments) if name in _FILL | _REPEAT else sum(map(_length, arguments))


def _most(arguments: list[Any]) -> int:
    """One argument for each piece of the first, and the widths that a format names."""
    if len(arguments) < 2:
        return sum(map(_length, arguments))
    subject, *others = arguments
    widths = sum(int(width[:9]) for width in _WIDTH.findall(subject)) if isinstance(subject, str) else 0
    times = [abs(other) if isinstance(other, int) else _length(other) for other in others]
    return max(_length(subject), 1) * max(1, *times) + widths


def _length(value: Any) -> int:
    """The characters or items, those inside others as well; no more are counted than are allowed."""
    if isinstance(value, bool) or value is None:
        return 1
    if isinstance(value, int):
        return value.bit_length()
    if isinstance(value, str):
        return len(value)
    size, waiting = 1, [value]
    while waiting and size <= MAX_SIZE:
        inner = waiting.pop()
        if isinstance(inner, str):
            size += len(inner)
        elif isinstance(inner, list | tuple):
            size += len(inner)
            waiting.extend(inner)
        elif isinstance(inner, Mapping):
            size += len(inner)
            waiting.extend((*inner.keys(), *inner.values()))
    return size
