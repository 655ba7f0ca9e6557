"""Quantised matrices of one checkpoint in one file, so that a second start maps them instead of rounding again.

A file that is damaged is ignored and written anew. Where nothing can be written, the log says so and every start rounds
again. Knows nothing of checkpoints: who asks names the file by what is in it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from foveal.layers.linear.quantised import Quantised

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SUFFIX = ".safetensors"
UNFINISHED = "unfinished-"  # folders in which a file is being written
LONGEST_WRITE_S = 24 * 3600.0  # who takes longer was killed
FORMAT = "1"  # of the files, and how weights are rounded: another number makes others of them
PARTS = ("weight", "scale", "bias")

log = logging.getLogger(__name__)


class KeptMatrices:
    """Matrices by name: found in `file`, or added and then written to it by `save`."""

    def __init__(self, file: Path, max_bytes: int) -> None:
        """max_bytes: of all files in its folder; those that were used longest ago are deleted."""
        self._file = file
        self._max_bytes = max_bytes
        self._matrices: dict[str, Quantised] = {}  # that were found or added
        self._has_more = False
        self._found = _opened(file)
        self._names = frozenset(self._found.keys() if self._found else ())
        self._facts: dict[str, Any] = (self._found and self._found.metadata()) or {}

    @property
    def is_complete(self) -> bool:
        """Whether every matrix that was asked for was found."""
        return self._found is not None and not self._has_more

    def get(self, name: str) -> Quantised | None:
        if name not in self._facts:
            return None
        form, in_features, dtype, limit = json.loads(self._facts[name])
        weight, scale, bias = (self._tensor(f"{name}.{part}") for part in PARTS)
        assert weight is not None
        matrix = Quantised(form, weight, scale, bias, in_features, getattr(torch, dtype), limit)
        self._matrices[name] = matrix
        return matrix

    def add(self, name: str, matrix: Quantised) -> None:
        self._matrices[name] = matrix
        self._has_more = True

    def save(self) -> None:
        """Write what was added, all or nothing, and delete what there is no more room for."""
        try:
            if self._has_more:
                self._write()
            else:
                os.utime(self._file)
            self._make_room()
        except (OSError, SafetensorError) as error:  # a full disk is either, depending on who notices it
            log.warning("quantised weights could not be kept in %s: %s", self._file.parent, error)

    def _tensor(self, name: str) -> Tensor | None:
        assert self._found is not None
        return self._found.get_tensor(name) if name in self._names else None

    def _write(self) -> None:
        parts = {(name, part): getattr(m, part) for name, m in self._matrices.items() for part in PARTS}
        tensors = {f"{name}.{part}": tensor for (name, part), tensor in parts.items() if tensor is not None}
        facts = {
            name: json.dumps([m.form, m.in_features, str(m.dtype).removeprefix("torch."), m.limit])
            for name, m in self._matrices.items()
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=UNFINISHED, dir=self._file.parent
        ) as folder:  # replaced at once: nobody maps half a file
            save_file(tensors, os.path.join(folder, self._file.name), facts)
            os.replace(os.path.join(folder, self._file.name), self._file)

    def _make_room(self) -> None:
        for folder in self._file.parent.glob(f"{UNFINISHED}*"):
            if folder.stat().st_mtime < time.time() - LONGEST_WRITE_S:
                shutil.rmtree(folder, ignore_errors=True)
        files = sorted(self._file.parent.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime, reverse=True)
        total = 0
        for file in files:
            total += file.stat().st_size
            if total > self._max_bytes and file != self._file:
                file.unlink(missing_ok=True)  # a process that has mapped it keeps it


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt", device="cpu")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (SafetensorError, OSError) as error:
        log.warning("%s is damaged and is written again: %s", file, error)
        return None
