"""What every source of weights is: names, shapes and dtypes first, values one tensor (or slice) at a time.

Each file beside this one reads one kind of source; ``matching`` lays a source's names beside a model's parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

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
        """What messages and reports call it: a path, "the state dict", "the model ResNet"."""

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
