"""``Loaded``: the initializer whose values come from a source, read when a plan is carried out.

``transfers.plans`` puts it into plans; the writers draw from it as from any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from ..errors import TransferError
from ..fields import Key
from ..initializers.base import Initializer
from ..initializers.draws import Built, Draw
from ..initializers.layout import Layout
from .records import Match, Piece, Step
from .sources import Source
from .sources.values import check


@final
@dataclass(frozen=True, slots=True, repr=False)
class Loaded(Initializer):
    """The values of a match: read from its source, joined, and changed by its steps.

    Args:
        source: where they are read.
        match: which tensors, and what is done to them.
        dtype: of the parameter.
        allow_nonfinite: whether NaN and infinity may be loaded.
        looked_at: whether the values a process needs were checked before: a rank that holds a shard then reads that
            alone.
    """

    source: Source
    match: Match
    dtype: torch.dtype
    allow_nonfinite: bool = False
    looked_at: bool = False

    def __repr__(self) -> str:
        pieces = " + ".join(map(str, self.match.pieces))
        steps = "".join(f", {step.words}" for step in self.match.steps)
        return f"Loaded({self.source.label}, {pieces!r}{steps})"

    def draw(self, layout: Layout) -> Draw:
        """The values, read now so that a bad source is found before anything is written.

        Raises:
            TransferError: a tensor cannot be read, its shape differs, or it holds NaN or infinity.
        """
        if self.looked_at and self.is_plain:
            return self._as_stored()
        steps = self.match.steps
        drawing = next((i for i, step in enumerate(steps) if step.random), len(steps))
        values = self._given()
        for step in steps[:drawing]:
            values = self._changed(values, step, Key(0, 0))
        if self.match.shape != layout.shape or (drawing == len(steps) and tuple(values.shape) != layout.shape):
            raise TransferError(f"{self!r} gives the shape {tuple(values.shape)}, the model has {layout.shape}")

        def build(key: Key, device: torch.device) -> torch.Tensor:
            made = values
            for step in steps[drawing:]:
                made = self._changed(made, step, key)
            return made.to(device)

        return Built(build, mean=None, std=None, random=False)

    @property
    def is_plain(self) -> bool:
        """Whether it is one tensor of the source as it is."""
        return not self.match.steps and len(self.match.pieces) == 1 and self.match.pieces[0].rows is None

    def _as_stored(self) -> Built:
        """One tensor, read when it is written, and of a shard the shard alone."""
        tensor = self.match.pieces[0].tensor

        def build(key: Key, device: torch.device) -> torch.Tensor:  # noqa: ARG001 - loaded, not drawn
            return self.source.read(tensor).to(device)

        def part(key: Key, device: torch.device, slices: tuple[slice, ...]) -> torch.Tensor:  # noqa: ARG001
            return self.source.read(tensor, slices).to(device)

        return Built(build, mean=None, std=None, random=False, part=part)

    def _given(self) -> torch.Tensor:
        """What the source has, in its own dtype, no copy where one tensor is read."""
        parts = [self._read(piece) for piece in self.match.pieces]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @torch.no_grad()
    def _changed(self, values: torch.Tensor, step: Step, key: Key) -> torch.Tensor:
        made = step.apply(values, key, self._checked)
        if tuple(made.shape) != step.shape:
            raise TransferError(
                f"{step.words}, for {self.match.target!r}, gave the shape {tuple(made.shape)} and not {step.shape}"
            )
        return made

    def _read(self, piece: Piece) -> torch.Tensor:
        values = self._checked(piece.tensor)
        if piece.rows is not None:
            values = values[piece.rows[0] : piece.rows[1]]
        if tuple(values.shape) != piece.shape:
            raise TransferError(
                f"{piece.tensor!r} in {self.source.label} has the shape {tuple(values.shape)}, "
                f"its index says {piece.shape}"
            )
        return values

    def _checked(self, tensor: str) -> torch.Tensor:
        """A tensor of the source whose dtype and values may go into the parameter."""
        check(self.source, tensor, self.dtype, allow_nonfinite=self.allow_nonfinite)
        return self.source.read(tensor)
