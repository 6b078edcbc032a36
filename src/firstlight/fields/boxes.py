"""Boxes: which elements of a whole tensor a smaller one holds, so that a shard reads its own part of the field.

The writers make boxes from a sharded tensor's placements; ``fill.py`` walks them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError


@final
@dataclass(frozen=True, slots=True)
class Box:
    """A block of a whole tensor: on each axis, ``size`` indices from ``start`` on.

    Args:
        shape: of the whole tensor.
        start: the block's first index, on each axis.
        size: the block's own shape.

    Raises:
        ArgumentError: the block does not lie within the tensor.

    >>> Box((4, 6), (2, 0), (2, 3)).runs()
    (array([12, 18]), 3)
    """

    shape: tuple[int, ...]
    start: tuple[int, ...]
    size: tuple[int, ...]

    def __post_init__(self) -> None:
        same = len(self.shape) == len(self.start) == len(self.size)
        if not same or any(
            not 0 <= first <= first + n <= whole
            for whole, first, n in zip(self.shape, self.start, self.size, strict=True)
        ):
            raise ArgumentError(f"a block of shape {self.size} from {self.start} on does not lie in {self.shape}")

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Box:
        """All of a tensor."""
        return cls(shape, (0,) * len(shape), shape)

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the tensor."""
        return self.size == self.shape

    @property
    def numel(self) -> int:
        """Number of elements in the block."""
        return math.prod(self.size)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The index that cuts the block out of the whole tensor."""
        return tuple(slice(first, first + n) for first, n in zip(self.start, self.size, strict=True))

    @property
    def first(self) -> int | None:
        """The index of its first element in the whole tensor, where all its elements are neighbours there."""
        axes = range(len(self.shape))
        cut = next((a for a in axes if self.size[a] != 1), len(self.shape))  # before it, one index an axis
        if any(self.size[a] != self.shape[a] for a in axes if a > cut):
            return None
        return sum(self.start[a] * math.prod(self.shape[a + 1 :]) for a in axes)

    @property
    def cut(self) -> int:
        """The last axis of which it holds a part only; -1 where it is the whole tensor."""
        return max((a for a in range(len(self.shape)) if self.size[a] != self.shape[a]), default=-1)

    def widened(self, axis: int) -> Box:
        """The block with all indices on ``axis``."""
        start, size = list(self.start), list(self.size)
        start[axis], size[axis] = 0, self.shape[axis]
        return Box(self.shape, tuple(start), tuple(size))

    def runs(self) -> tuple[NDArray[np.int64], int]:
        """The block in row-major order as runs of neighbours: the index of each one's first element in the whole
        tensor, row-major, and the length they all have.
        """
        if not self.numel:
            return np.zeros(0, np.int64), 0
        # Axes that are whole join the axis before them into one run.
        axis = max(self.cut, 0)
        length = math.prod(self.size[axis:])
        strides = [math.prod(self.shape[a + 1 :]) for a in range(len(self.shape))]
        base = sum(first * stride for first, stride in zip(self.start, strides, strict=True))
        starts = np.full(1, base, np.int64)
        for a in range(axis):
            starts = (starts[:, None] + np.arange(self.size[a], dtype=np.int64) * strides[a]).reshape(-1)
        return starts, length

    def parts(self, limit: int) -> list[tuple[tuple[slice, ...], Box]]:
        """Blocks of at most ``limit`` elements that make up this one, each with its place within it."""
        if self.numel <= limit:
            return [(tuple(slice(0, n) for n in self.size), self)]
        steps, room = [], limit
        for n in reversed(self.size):
            steps.append(max(1, min(n, room)))
            room //= max(1, n)
        places = [range(0, n, step) for n, step in zip(self.size, reversed(steps), strict=True)]
        pieces = []
        for corner in itertools.product(*places):
            ends = [min(c + s, n) for c, s, n in zip(corner, reversed(steps), self.size, strict=True)]
            part = Box(
                self.shape,
                tuple(f + c for f, c in zip(self.start, corner, strict=True)),
                tuple(e - c for e, c in zip(ends, corner, strict=True)),
            )
            pieces.append((tuple(slice(c, e) for c, e in zip(corner, ends, strict=True)), part))
        return pieces
