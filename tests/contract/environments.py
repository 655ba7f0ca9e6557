"""Where `make contract` puts what the contract's tests need and Foveal does not: a folder for each of clients/*.txt,
and one for Node.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ENVIRONMENTS = Path(__file__).parents[2] / ".clients"


def environment(name: str) -> Path:
    """Its folder. Skips the test where it could not be installed."""
    if not (ENVIRONMENTS / name / "installed").exists():
        pytest.skip(f"the environment {name} is not there: `make contract` installs it, or says why it cannot")
    return ENVIRONMENTS / name
