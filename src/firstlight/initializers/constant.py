"""Constants: the values nothing random decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from ..errors import ArgumentError
from .base import Initializer
from .checks import finite
from .draws import Draw, Fill, Segments
from .layout import Layout


@final
@dataclass(frozen=True, slots=True)
class Constant(Initializer):
    """Every element is ``value``, a finite number.

    >>> Constant(0.25).draw(Layout.vector((3,)))
    Fill(value=0.25)
    """

    value: float

    def __post_init__(self) -> None:
        finite("value", self.value)

    def draw(self, layout: Layout) -> Draw:
        """The constant."""
        return Fill(float(self.value))


@final
@dataclass(frozen=True, slots=True)
class Zeros(Initializer):
    """Every element is 0. Weights that start so give identical units, which training cannot tell apart."""

    def draw(self, layout: Layout) -> Draw:
        """The constant."""
        return Fill(0.0)


@final
@dataclass(frozen=True, slots=True)
class Ones(Initializer):
    """Every element is 1: a norm's scale."""

    def draw(self, layout: Layout) -> Draw:
        """The constant."""
        return Fill(1.0)


@final
@dataclass(frozen=True, slots=True)
class PerBlock(Initializer):
    """One constant for each of the equal parts stacked along axis 0.

    Args:
        values: the parts' constants, in order: an LSTM's forget bias 1 is ``PerBlock((0, 1, 0, 0))``.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ArgumentError("PerBlock(()) has no parts: give one constant for each")
        for value in self.values:
            finite("value", value)

    def draw(self, layout: Layout) -> Draw:
        """The constants; ArgumentError where axis 0 is not a multiple of their number."""
        if not layout.shape or layout.shape[0] % len(self.values):
            raise ArgumentError(f"{len(self.values)} parts do not divide axis 0 of the shape {layout.shape}")
        return Segments(tuple(float(v) for v in self.values))
