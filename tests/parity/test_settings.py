"""Every setting that the reference library writes, toggled: a checkpoint is read, or refused with a sentence."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from foveal.errors import CheckpointError
from tests.parity.configs import MODELS, complete, meaning, places

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE: tuple[Any, ...] = (None, [], {}, "x", -1, 0, True, 1e300, 10**30, [None], [["x"]], {"a": [1]})


@pytest.mark.parametrize("model_type", MODELS)
def test_no_value_of_a_setting_is_more_than_an_error(tmp_path: Path, model_type: str) -> None:
    files = complete(model_type)
    meaning(tmp_path, files)

    for i, (place, _) in enumerate(places(files)):
        for value in HOSTILE[i % 6 :: 6]:  # two of them each, so that it takes seconds
            with suppress(CheckpointError):
                meaning(tmp_path, place.changed(files, value))
