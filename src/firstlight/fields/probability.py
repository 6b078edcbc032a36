"""Φ, the normal distribution function, as exact integers: what truncation needs and libm cannot promise.

The bounds of a truncated normal become integers that the draw depends on. ``math.erfc`` may differ in its last bit
from one C library to the next, and that bit would show in a 64-bit probability; integer arithmetic cannot differ.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Final

BITS: Final = 384
"""Fraction bits of the fixed-point numbers; the series loses at most log2(exp(12² / 2)) = 104 of them."""
LIMIT: Final = 12.0
"""Beyond ± LIMIT, Φ is 0 or 1 to more than 64 bits: Φ(−12) = 2⁻¹⁰⁸."""


@lru_cache(maxsize=1)
def _root_two_pi() -> int:
    """√(2π) · 2^BITS, with π from Machin's formula π = 16 atan(1/5) − 4 atan(1/239)."""

    def arctangent(n: int) -> int:
        power = (1 << (2 * BITS)) // n
        total, k = power, 1
        while power:
            power //= n * n
            k += 2
            total += power // k if k % 4 == 1 else -(power // k)
        return total

    return math.isqrt(2 * (16 * arctangent(5) - 4 * arctangent(239)))


@lru_cache(maxsize=1024)
def cumulative(x: float) -> int:
    """Φ(x) · 2^BITS, correct to far more than 64 bits.

    Φ(x) = ½ + (1/√(2π)) · Σ_k (−1)^k x^(2k+1) / (2^k k! (2k+1)), in integers.

    >>> cumulative(0.0) == 1 << (BITS - 1)
    True
    >>> abs(cumulative(-1.0) / (1 << BITS) - 0.15865525393145705) < 1e-16
    True
    """
    if x <= -LIMIT:
        return 0
    if x > 0:
        return (1 << BITS) - cumulative(-x)  # so that symmetric bounds give exactly symmetric windows
    exact = Fraction(x)
    value = (exact.numerator << BITS) // exact.denominator
    square = (value * value) >> BITS
    term, total, k = value, value, 0
    while term not in (0, -1):
        k += 1
        term = -((term * square) >> BITS) // (2 * k)
        total += term // (2 * k + 1)
    return (1 << (BITS - 1)) + (total << BITS) // _root_two_pi()


def rounded(probability: int, bits: int) -> int:
    """A probability of ``BITS`` fraction bits, rounded to the nearest multiple of 2^−bits, as that multiple."""
    drop = BITS - bits
    return (probability + (1 << (drop - 1))) >> drop
