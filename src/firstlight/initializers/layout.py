"""How a parameter connects units: its axes and fans, declared by who knows them, never guessed from rank.

``graphs`` declares a layout for every parameter of a model; every initializer reads its fans and axes here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Layout:
    """The declared meaning of a tensor's axes.

    Args:
        shape: the tensor's global, logical shape.
        fan_in: number of inputs one output unit connects to, an average where strides make it one.
        fan_out: number of outputs one input unit connects to.
        out_axis: the axis that counts output units (within a block), ``None`` for a tensor without axes to map.
        in_axis: the axis that counts input units; all other axes are the kernel's.
        blocks: how many independent maps are stacked along axis 0 (gates of an LSTM, q/k/v, groups).

    Raises:
        ArgumentError: axes outside the shape, blocks that do not divide axis 0, fans that are not positive.
    """

    shape: tuple[int, ...]
    fan_in: float
    fan_out: float
    out_axis: int | None = None
    in_axis: int | None = None
    blocks: int = 1

    def __post_init__(self) -> None:
        rank = len(self.shape)
        for name, axis in (("out_axis", self.out_axis), ("in_axis", self.in_axis)):
            if axis is not None and not 0 <= axis < rank:
                raise ArgumentError(f"{name}={axis} lies outside the shape {self.shape}: give 0 to {rank - 1}")
        if (self.out_axis is None) != (self.in_axis is None):
            raise ArgumentError("give both out_axis and in_axis, or neither (a tensor that maps no axes)")
        if self.out_axis is not None and self.out_axis == self.in_axis:
            raise ArgumentError(f"out_axis and in_axis are both {self.out_axis}: a map needs two axes")
        if self.blocks < 1 or (self.blocks > 1 and (rank == 0 or self.shape[0] % self.blocks)):
            raise ArgumentError(f"{self.blocks} blocks do not divide axis 0 of the shape {self.shape}")
        for name, fan in (("fan_in", self.fan_in), ("fan_out", self.fan_out)):
            if not (math.isfinite(fan) and fan >= 0):
                raise ArgumentError(f"{name}={fan} for the shape {self.shape}: a fan is a finite count ≥ 0")

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def block_shape(self) -> tuple[int, ...]:
        """The shape of one block."""
        return (self.shape[0] // self.blocks, *self.shape[1:]) if self.blocks > 1 else self.shape

    @property
    def kernel_axes(self) -> tuple[int, ...]:
        """The axes that are neither output nor input: a convolution's kernel."""
        return tuple(a for a in range(len(self.shape)) if a not in (self.out_axis, self.in_axis))

    @classmethod
    def vector(cls, shape: Sequence[int]) -> Layout:
        """A tensor whose elements map nothing: a bias, a scale; each unit connects to itself, fans 1."""
        return cls(tuple(shape), 1, 1)

    @classmethod
    def mapping(cls, shape: Sequence[int], out_axis: int = 0, in_axis: int = 1, blocks: int = 1) -> Layout:
        """A map between two axes, the others its kernel: fans from the sizes, kernel positions counted in.

        >>> Layout.mapping((128, 64))
        Layout(shape=(128, 64), fan_in=64, fan_out=128, out_axis=0, in_axis=1, blocks=1)
        """
        shape = tuple(shape)
        base = cls(shape, 1, 1, out_axis, in_axis, blocks)
        field = math.prod(shape[a] for a in base.kernel_axes)
        per_block = base.block_shape
        return cls(shape, per_block[in_axis] * field, per_block[out_axis] * field, out_axis, in_axis, blocks)

    @classmethod
    def conv(cls, shape: Sequence[int], groups: int = 1, stride: Sequence[int] = ()) -> Layout:
        """A convolution's weight ``(out, in / groups, *kernel)``.

        fan_in = in/groups · k and fan_out = out/groups · k / s, with k the kernel's positions and s the product of
        the strides: an input pixel is under k/s of the kernel's placements on average.
        """
        shape = tuple(shape)
        field, step = math.prod(shape[2:]), math.prod(stride)
        return cls(shape, shape[1] * field, shape[0] / groups * field / step, 0, 1, groups)

    @classmethod
    def conv_transposed(cls, shape: Sequence[int], groups: int = 1, stride: Sequence[int] = ()) -> Layout:
        """A transposed convolution's weight ``(in, out / groups, *kernel)``: its axes are swapped.

        fan_in = in/groups · k / s (an output pixel is reached by k/s placements on average), fan_out = out/groups · k.
        """
        shape = tuple(shape)
        field, step = math.prod(shape[2:]), math.prod(stride)
        return cls(shape, shape[0] / groups * field / step, shape[1] * field, 1, 0, groups)

    @classmethod
    def embedding(cls, shape: Sequence[int]) -> Layout:
        """A look-up table ``(entries, width)``: one row is read, so fan_in = 1 and fan_out = width."""
        shape = tuple(shape)
        return cls(shape, 1, shape[1], 1, 0)

    @classmethod
    def bilinear(cls, shape: Sequence[int]) -> Layout:
        """A bilinear form ``(out, in1, in2)``: fan_in = in1 · in2; fan_out, of a unit of the first input, out · in2."""
        shape = tuple(shape)
        return cls(shape, shape[1] * shape[2], shape[0] * shape[2], 0, 1)
