"""The entry point of the engine's process: imports torch without what only compiling, exporting and training take.

Importing torch is most of a start. What is left out is imported when something of it is asked for. torch's compiler
needs more than that: who compiles in an engine takes these names off the list.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# torch imports these for their effects alone, or to have their names at hand.
RARELY_USED = (
    "torch._meta_registrations",  # the shapes that operators give: half a second, for tensors without numbers
    "torch.ao",
    "torch.distributions",
    "torch.export",
    "torch.fx.passes",
    "torch.masked",
    "torch.nn.intrinsic",
    "torch.nn.qat",
    "torch.nn.quantizable",
    "torch.nn.quantized",
    "torch.quantization",
    "torch.utils.data",
)


@contextmanager
def imported_when_used(names: Sequence[str]) -> Iterator[None]:
    """Within it, an import of one of these modules makes an empty one, which is filled when it is first used."""
    finder = _Postponing(frozenset(names))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Postponing(MetaPathFinder):
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._names else None
        if spec and spec.loader:
            spec.loader = _Later(spec.loader)
        return spec


class _Later(Loader):
    """importlib.util.LazyLoader would load a module at its second import, which is before anybody uses it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        def fill(name: str) -> Any:
            if name.startswith("__"):  # what the import system asks of every module
                raise AttributeError(name)
            del module.__dict__["__getattr__"]
            self._loader.exec_module(module)
            return getattr(module, name)

        module.__dict__["__getattr__"] = fill


with imported_when_used(RARELY_USED):
    from foveal.engine.process import serve as serve
