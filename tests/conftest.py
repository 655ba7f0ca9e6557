"""What holds for every test: none of them reads the accounts or fills the cache of the user who runs it."""

from __future__ import annotations

import os
import tempfile

import pytest


def pytest_configure(config: pytest.Config) -> None:
    state = tempfile.TemporaryDirectory(prefix="foveal-tests-")
    config.add_cleanup(state.cleanup)
    os.environ["XDG_STATE_HOME"] = os.environ["XDG_CACHE_HOME"] = state.name
