"""States: what a layer keeps of a sequence besides keys and values. Their size does not grow with the sequence.

Each sequence has a slot in the engine's tensors. A layer reads the slots of a step's sequences and says what they
become. Nothing is written before `commit`: a step that raises leaves all slots as they were, and can be computed again.

Letters: T rows in the step, S sequences that lack one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.layers.step import StateShape


class Save(NamedTuple):
    """The state after so many of a sequence's rows in the step goes into this slot, too."""

    num_rows: int
    slot: int


@dataclass(frozen=True, slots=True)
class StateRows:
    """One sequence's rows in the step, [start, stop), and the slot of its state. A fresh sequence has none yet."""

    start: int
    stop: int
    slot: int
    is_fresh: bool
    saves: tuple[Save, ...] = ()  # ascending

    @property
    def is_decoding(self) -> bool:
        return self.stop - self.start == 1 and not self.is_fresh

    @property
    def runs(self) -> list[tuple[int, int, list[int]]]:
        """The stretches of rows after which the state is kept: (start, stop, slots)."""
        found: list[tuple[int, int, list[int]]] = []
        at = self.start
        for stop in sorted({self.stop, *(self.start + save.num_rows for save in self.saves)}):
            slots = [save.slot for save in self.saves if self.start + save.num_rows == stop]
            found.append((at, stop, [*slots, self.slot] if stop == self.stop else slots))
            at = stop
        return found


@dataclass(slots=True, eq=False)
class StepStates:
    """The states of one step's sequences.

    tensors: for each of the decoder's state shapes [layers, slots, *shape].
    """

    tensors: Sequence[Tensor]
    prefilling: list[StateRows] = field(init=False)
    decoding_rows_S: Tensor = field(init=False)
    _decoding_slots_S: Tensor = field(init=False)
    _saving: list[tuple[int, list[int]]] = field(init=False)  # of the decoding: which has to be saved, and where
    _written: list[tuple[Tensor, Tensor, Tensor]] = field(init=False, default_factory=list)

    def __init__(self, tensors: Sequence[Tensor], sequences: Sequence[StateRows]) -> None:
        self.tensors = tensors
        self.prefilling = [rows for rows in sequences if not rows.is_decoding]
        decoding = [rows for rows in sequences if rows.is_decoding]
        device = tensors[0].device
        self.decoding_rows_S = torch.tensor([rows.start for rows in decoding], device=device, dtype=torch.int64)
        self._decoding_slots_S = torch.tensor([rows.slot for rows in decoding], device=device, dtype=torch.int64)
        self._saving = [(i, [save.slot for save in rows.saves]) for i, rows in enumerate(decoding) if rows.saves]
        self._written = []

    def of_decoding(self, kind: int, layer: int) -> Tensor:
        """A copy of the states of the sequences that lack one token: [S, *shape]."""
        return self.tensors[kind][layer].index_select(0, self._decoding_slots_S)

    def put_decoding(self, kind: int, layer: int, values: Tensor) -> None:
        slots = self.tensors[kind][layer]
        self._written.append((slots, self._decoding_slots_S, values))
        for i, saved_to in self._saving:
            self.put(kind, layer, saved_to, values[i])

    def of(self, kind: int, layer: int, rows: StateRows) -> Tensor:
        """The state of a sequence that is prefilling: [*shape], zeros if it is fresh."""
        state: Tensor = self.tensors[kind][layer, rows.slot]
        return torch.zeros_like(state) if rows.is_fresh else state

    def put(self, kind: int, layer: int, slots: Sequence[int], value: Tensor) -> None:
        tensor = self.tensors[kind][layer]
        at = torch.tensor(slots, device=tensor.device, dtype=torch.int64)
        self._written.append((tensor, at, value.expand(len(slots), *value.shape)))

    def commit(self) -> None:
        """Write what the layers have put."""
        for tensor, slots, values in self._written:
            tensor.index_copy_(0, slots, values.to(tensor.dtype))
        self._written = []


def state_tensors(
    shapes: Sequence[StateShape], num_slots: int, dtype: torch.dtype, device: torch.device
) -> list[Tensor]:
    """Room for the states of `num_slots` sequences. It takes up memory as it is written."""
    return [
        torch.empty((shape.num_layers, num_slots, *shape.shape), dtype=shape.dtype or dtype, device=device)
        for shape in shapes
    ]
