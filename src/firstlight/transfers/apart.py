"""A source that may share memory with the model it is loaded into.

``load_`` reads through it: weights that change places within one model would else be overwritten before they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import nn

from ..graphs import slots
from .sources import Source, Stored


@final
class Apart(Source):
    """A source that may share memory with the model: what does is copied when it is read.

    Weights that change places within one model would else be overwritten before they are read.
    """

    __slots__ = ("_held", "_source")

    def __init__(self, source: Source, held: frozenset[int]) -> None:
        """A source, and the addresses of the model's storages."""
        self._source, self._held = source, held

    @classmethod
    def of(cls, source: Source, model: nn.Module) -> Source:
        """The source as it is, or apart from the model."""
        return cls(source, frozenset(_address(s.tensor) for s in slots(model) if not s.tensor.is_meta))

    @property
    def label(self) -> str:
        """The source's."""
        return self._source.label

    @property
    def tensors(self) -> Mapping[str, Stored]:
        """The source's."""
        return self._source.tensors

    @property
    def notes(self) -> tuple[str, ...]:
        """The source's."""
        return self._source.notes

    def read(self, name: str, index: tuple[slice, ...] | None = None) -> torch.Tensor:
        """The values, copied where the model holds them itself."""
        values = self._source.read(name, index)
        return values.clone() if self._is_held(values) else values

    def shares(self, name: str) -> bool:
        """Whether the model holds a tensor's memory."""
        return self._is_held(self._source.read(name))

    def _is_held(self, values: torch.Tensor) -> bool:
        return values.numel() > 0 and _address(values) in self._held


def _address(tensor: torch.Tensor) -> int:
    """Where a tensor's storage begins; 0 for one that has none of its own."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0
