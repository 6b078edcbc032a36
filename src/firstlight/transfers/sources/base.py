"""What every source of weights is: names, shapes and dtypes first, values one tensor (or slice) at a time.

Each file beside this one reads one kind of source; ``matching`` lays a source's names beside a model's parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of a source, not yet read.

    Args:
        shape, dtype: as stored.
        place: where it lies, for messages: a file's name, or "" where the source itself says enough.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    place: str = ""


class Source(ABC):
    """Tensors by name, read when they are wanted; reading runs no code of the source's."""

    __slots__ = ()

    @property
    @abstractmethod
    def label(self) -> str:
        """What messages and reports call it: a path in quotes, "the state dict", "the model ResNet"."""

    @property
    @abstractmethod
    def tensors(self) -> Mapping[str, Stored]:
        """Every tensor's name and form, in the source's order."""

    @abstractmethod
    def read(self, name: str, index: tuple[slice, ...] | None = None) -> torch.Tensor:
        """One tensor's values, or a part of it; a view of the source's own memory where that spares a copy.

        Raises:
            TransferError: it cannot be read; the message names the source and the tensor.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided on the way, a sentence each: which section was taken, which of two formats."""
        return ()


@final
@dataclass(frozen=True)
class Noted(Source):
    """A source and one more note on how it was found."""

    source: Source
    note: str

    @property
    def label(self) -> str:
        """The source's."""
        return self.source.label

    @property
    def tensors(self) -> Mapping[str, Stored]:
        """The source's."""
        return self.source.tensors

    def read(self, name: str, index: tuple[slice, ...] | None = None) -> torch.Tensor:
        """From the source."""
        return self.source.read(name, index)

    @property
    def notes(self) -> tuple[str, ...]:
        """The source's, and the one more."""
        return (*self.source.notes, self.note)


def part(values: torch.Tensor, index: tuple[slice, ...] | None) -> torch.Tensor:
    """A view of the part of a tensor that ``index`` names, all of it where there is none."""
    return values if index is None else values[index]
