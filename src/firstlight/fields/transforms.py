"""Transforms: what a random 32-bit word becomes, as constants both engines read.

A ``Transform`` holds only numbers that float32 or an integer represents exactly, computed here once without libm, so
that every engine starts from the same bits. ``reference.py`` and ``llvm/group.py`` give the formulas that use them.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import Final, Literal, final

import numpy as np

from ..errors import ArgumentError
from .probability import BITS, cumulative, rounded

Kind = Literal["words", "uniform", "normal", "truncated", "truncated_far"]

CONSTANTS: Final = struct.Struct("<4f2Q")
FAR_BITS: Final = 12
"""A window that holds less than 2^−FAR_BITS of the mass is resolved with 64-bit probabilities."""
LEAST_BITS: Final = 40
"""A window that holds less than 2^−LEAST_BITS of the mass is refused: too few of 2⁶⁴ probabilities lie in it."""
REACH: Final = 6.2303
"""|z| of the largest normal value that a 32-bit word gives: the quantile of 2⁻³²."""


@final
@dataclass(frozen=True, slots=True)
class Transform:
    """How 32 random bits become a value; made by ``uniform``, ``normal`` and ``truncated_normal``.

    Args:
        kind: which formula.
        scale: float32 factor of the formula's integer (uniform: half-width · 2⁻²⁴; normal: std · 2⁻³¹ or std · 2⁻⁶³).
        shift: float32 centre that is added.
        low: float32 lower clamp of a truncated normal.
        high: float32 upper clamp of a truncated normal.
        base: integer offset that truncation adds, modulo 2³² or 2⁶⁴.
        span: integer width of the window that truncation maps the word into.
    """

    kind: Kind
    scale: float
    shift: float
    low: float = -math.inf
    high: float = math.inf
    base: int = 0
    span: int = 0
    packed: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for number in (self.scale, self.shift, self.low, self.high):
            if float(np.float32(number)) != number:
                raise ArgumentError(f"{number!r} is no float32 number: build a Transform with uniform, normal …")
        constants = CONSTANTS.pack(self.scale, self.shift, self.low, self.high, self.base, self.span)
        object.__setattr__(self, "packed", constants)


WORDS: Final = Transform("words", 1.0, 0.0)
"""The raw field."""


def _finite(call: str, **numbers: float) -> None:
    """Refuse what is not a finite number that float32 holds."""
    for name, number in numbers.items():
        if not math.isfinite(number) or abs(number) > 3.4028234663852886e38:
            raise ArgumentError(f"{call}: {name}={number} is not finite in float32")


def _constant(call: str, name: str, value: float, least: float) -> float:
    """``value`` rounded to float32; not so small that a product with it could leave float32's normal numbers."""
    number = float(np.float32(value)) + 0.0
    if value != 0.0 and abs(number) < least:
        raise ArgumentError(
            f"{call}: {name} {value:.3g} is too small for float32 arithmetic without denormals "
            f"(at least {least:.3g}): use a larger value, or zero"
        )
    return number


def _inward(low: float, high: float) -> tuple[float, float]:
    """The smallest float32 ≥ ``low`` and the largest float32 ≤ ``high``."""
    with np.errstate(over="ignore"):
        down, up = np.float32(low), np.float32(high)
    if float(down) < low:
        down = np.nextafter(down, np.float32(np.inf))
    if float(up) > high:
        up = np.nextafter(up, np.float32(-np.inf))
    return float(down) + 0.0, float(up) + 0.0  # + 0.0: no negative zero, which engines may clamp differently


def uniform(low: float, high: float) -> Transform:
    """Uniform on [low, high]: x = c · scale + (low + high)/2 with c odd and uniform, |c| < 2²⁴.

    Both bounds are rounded inward to float32 first, so no value lies outside them. The 2²⁴ values are symmetric
    about the centre; scale = half-width · 2⁻²⁴.

    Raises:
        ArgumentError: bounds that are not finite or not ascending, or an interval too narrow for float32.

    >>> uniform(-1.0, 1.0)
    Transform(kind='uniform', scale=5.960464477539063e-08, shift=0.0, low=-inf, high=inf, base=0, span=0)
    """
    call = f"uniform(low={low}, high={high})"
    _finite(call, low=low, high=high)
    if not low < high:
        raise ArgumentError(f"{call}: low must be less than high; for one value use a constant")
    bottom, top = _inward(low, high)
    if not bottom < top:
        raise ArgumentError(f"{call}: fewer than two float32 numbers lie between the bounds; widen them")
    # Halves first: the sum of two large bounds would overflow float32's range, though not float64's here.
    shift = _constant(call, "the centre", bottom / 2 + top / 2, 2.0**-78)
    shift = min(max(shift, bottom), top)
    half = min(top - shift, shift - bottom)
    scale = _inward(0.0, half * 2.0**-24)[1]
    return Transform("uniform", _constant(call, "the width", scale or half * 2.0**-24, 2.0**-100), shift)


def normal(mean: float, std: float) -> Transform:
    """Normal: x = mean + std · Φ⁻¹((u | 1) · 2⁻³²), one polynomial, out to 6.23 σ.

    Args:
        mean: the mean, finite.
        std: the standard deviation, > 0.

    Raises:
        ArgumentError: numbers that are not finite, std ≤ 0, or a std whose float32 constants would be denormal.

    >>> normal(0.0, 1.0).scale == 2.0**-31
    True
    """
    call = f"normal(mean={mean}, std={std})"
    _check_parent(call, mean, std)
    shift = _constant(call, "the mean", mean, 2.0**-78)
    return Transform("normal", _constant(call, "std · 2⁻³¹ =", std * 2.0**-31, 2.0**-120), shift)


def _check_parent(call: str, mean: float, std: float) -> None:
    """Refuse a mean and std that define no normal distribution in float32."""
    _finite(call, mean=mean, std=std)
    if not std > 0:
        raise ArgumentError(f"{call}: std must be positive; for one value use a constant")
    _finite(call, largest_value=abs(mean) + 7 * std)


def truncated_normal(mean: float, std: float, low: float, high: float) -> Transform:
    """Normal of the given parent, conditioned on low ≤ (x − mean)/std ≤ high; one pass, no rejection.

    The word is mapped into [Φ(low), Φ(high)], then through Φ⁻¹: p = Φ(low) + u · 2⁻³² · (Φ(high) − Φ(low)), with
    32-bit probabilities, or 64-bit ones where the window holds less than 2⁻¹² of the mass. Values are clamped to the
    bounds, rounded inward to float32.

    Args:
        mean: the parent's mean.
        std: the parent's standard deviation, > 0.
        low: lower bound in parent standard deviations; −inf for none.
        high: upper bound in parent standard deviations; inf for none.

    Raises:
        ArgumentError: as ``normal``; bounds that are NaN or not ascending; a window that holds less than 2⁻⁴⁰ of the
            mass (beyond about 7 σ).

    >>> round(truncated_normal(0.0, 1.0, -2.0, 2.0).span / 2**32, 9)
    0.954499736
    """
    call = f"truncated_normal(mean={mean}, std={std}, low={low}, high={high})"
    _check_parent(call, mean, std)
    if not low < high:
        raise ArgumentError(f"{call}: low must be less than high (both in standard deviations, not NaN)")
    if low <= -REACH and high >= REACH:
        return normal(mean, std)
    bottom, top = _inward(mean + std * low, mean + std * high)
    if not bottom <= top:
        raise ArgumentError(f"{call}: no float32 number lies between the bounds; widen them")
    shift = _constant(call, "the mean", mean, 2.0**-78)
    below, above = cumulative(float(low)), cumulative(float(high))
    mass = above - below
    if mass >> (BITS - LEAST_BITS) == 0:
        raise ArgumentError(
            f"{call}: the window holds {mass / (1 << BITS):.3g} of the mass, less than 2**-{LEAST_BITS}; bounds are in "
            f"standard deviations from the mean: move them nearer to it, or widen them"
        )
    if mass >> (BITS - FAR_BITS) == 0:
        first, last = rounded(below, 64), rounded(above, 64)
        scale = _constant(call, "std · 2⁻⁶³ =", std * 2.0**-63, 2.0**-124)
        base = (first - (1 << 63)) % (1 << 64)
        return Transform("truncated_far", scale, shift, bottom, top, base, last - first)
    first, last = rounded(below, 32), rounded(above, 32)
    scale = _constant(call, "std · 2⁻³¹ =", std * 2.0**-31, 2.0**-120)
    span = min(last - first, (1 << 32) - 1)
    return Transform("truncated", scale, shift, bottom, top, (first - (1 << 31)) % (1 << 32), span)
