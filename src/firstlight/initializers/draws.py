"""What an initializer decides for one tensor, as data: how its values come about.

Initializers make draws; ``sample`` and the writers carry them out. Only ``Sampled`` needs the random field element by
element; a ``Built`` is a whole tensor that no single word decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch

from ..fields import Key, Transform


@final
@dataclass(frozen=True, slots=True)
class Fill:
    """Every element is ``value``."""

    value: float


@final
@dataclass(frozen=True, slots=True)
class Segments:
    """Equal parts along axis 0, each filled with one value: the gates of a recurrent bias."""

    values: tuple[float, ...]


@final
@dataclass(frozen=True, slots=True)
class Sampled:
    """Each element is ``transform`` of its own word of the field; ``mean`` and ``std`` are the values' in theory."""

    transform: Transform
    mean: float
    std: float


@final
@dataclass(frozen=True, slots=True)
class Built:
    """A whole tensor: ``build(key, device)`` gives it with the layout's shape.

    ``mean`` and ``std`` are the values' in theory, ``None`` where they are not defined; ``random`` says whether the
    key decides them, so that no two tensors should come out alike. ``part(key, device, slices)`` gives a block of the
    tensor alone, for a rank that holds a shard; without it the whole is built and cut.
    """

    build: Callable[[Key, torch.device], torch.Tensor]
    mean: float | None
    std: float | None
    random: bool = True
    part: Callable[[Key, torch.device, tuple[slice, ...]], torch.Tensor] | None = None

    def block(self, key: Key, device: torch.device, slices: tuple[slice, ...]) -> torch.Tensor:
        """The block of the tensor at ``slices``, one slice an axis."""
        if self.part is not None:
            return self.part(key, device, slices)
        return self.build(key, device)[slices]


Draw = Fill | Segments | Sampled | Built


def moments(draw: Draw) -> tuple[float, float] | None:
    """The mean and standard deviation that a draw's values have in theory; ``None`` where they are not defined."""
    match draw:
        case Fill(value):
            return value, 0.0
        case Segments(values):
            mean = sum(values) / len(values)
            return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
        case Sampled(mean=mean, std=std):
            return mean, std
        case Built(mean=float(mean), std=float(std)):
            return mean, std
        case _:
            return None
