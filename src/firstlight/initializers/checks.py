"""The argument checks that initializers share; each names the argument and what it should be."""

from __future__ import annotations

import math

from ..errors import ArgumentError
from .layout import Layout


def finite(name: str, value: float) -> None:
    """Refuse what is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArgumentError(f"{name}={value!r} should be a finite number")


def positive(name: str, value: float, otherwise: str) -> None:
    """Refuse what is not a finite number above 0; ``otherwise`` says what to use instead."""
    finite(name, value)
    if value <= 0:
        raise ArgumentError(f"{name}={value!r} should be above 0; {otherwise}")


def mapping(rule: str, layout: Layout) -> tuple[int, int]:
    """The output and input axes of a layout that maps; ArgumentError for one that does not."""
    if layout.out_axis is None or layout.in_axis is None:
        raise ArgumentError(
            f"{rule} needs to know the output and input axes of the shape {layout.shape}, and none are declared. "
            "Declare them: fl.Layout.mapping(shape, out_axis, in_axis), or the rule fl.Axes(out, in_)."
        )
    return layout.out_axis, layout.in_axis
