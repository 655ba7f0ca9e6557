"""The engine's short way to torch: what is left out is there when it is asked for."""

import subprocess
import sys

import pytest

SAYS_WHAT_IS_LOADED = """
import sys
from foveal.engine.start import RARELY_USED, serve
import torch
loaded = [name for name in RARELY_USED if name in sys.modules and "__getattr__" not in vars(sys.modules[name])]
assert not loaded, loaded
assert serve.__module__ == "foveal.engine.process"
"""
USES_WHAT_IS_NOT = """
assert (torch.empty(2, 3, device="meta") @ torch.empty(3, 5, device="meta")).shape == (2, 5)
assert list(torch.utils.data.DataLoader([1, 2])) == [torch.tensor([1]), torch.tensor([2])]
assert torch.distributions.Normal(0.0, 1.0).mean == 0
"""


@pytest.mark.slow
def test_modules_that_an_engine_never_uses_are_imported_when_somebody_does() -> None:
    subprocess.run([sys.executable, "-c", SAYS_WHAT_IS_LOADED], check=True)
    subprocess.run([sys.executable, "-c", SAYS_WHAT_IS_LOADED + USES_WHAT_IS_NOT], check=True)
