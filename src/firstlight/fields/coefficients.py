"""The polynomials of the inverse normal distribution function, as float32 constants.

Fitted by ``tools/fit_quantile.py`` (minimax, Lawson's reweighted least squares, each coefficient rounded to float32
before the lower ones are fitted) and frozen: they are part of the format, so a new fit is a new format. The fits'
errors: log2 2.8e-7 absolute; quantile 1.9e-7 and its tail 3.3e-8 relative. What float32 arithmetic makes of them: at
most 6e-7 relative, 1.7e-7 on average (root mean square).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import numpy as np

_LOG2: Final = (
    0.5849627654139365,
    0.9617953797345424,
    -0.3206323388075822,
    0.14254531476598886,
    -0.07058961027519804,
    0.037311372668066195,
    -0.02512337816368561,
    0.015125167065921095,
)
"""log2(1.5 + f) on |f| ≤ ½ in powers of f."""

_QUANTILE: Final = (
    4.400759220123291,
    2.330601453781128,
    -0.5634034276008606,
    0.2596489489078522,
    -0.13639576733112335,
    0.06715480983257294,
    -0.00870234239846468,
    -0.06856857985258102,
    0.07667823880910873,
    0.03854581341147423,
    0.01475485973060131,
    -0.24859687685966492,
    0.11537160724401474,
    0.2201366126537323,
    -0.14964112639427185,
    -0.0566006600856781,
    0.04621462896466255,
)
"""Φ⁻¹((1 + t)/2)/t in powers of y = w/15.5 − 1, where w = −log2(1 − t²) lies in [0, 31]."""

_TAIL: Final = (
    7.8263020515441895,
    1.3513829708099365,
    -0.1131460890173912,
    0.018769368529319763,
    -0.0038474719040095806,
    0.0008768142433837056,
    -0.00025198530056513846,
    6.951536488486454e-05,
)
"""The same in powers of y − 2 for w in [31, 62], which only 64-bit probabilities reach."""


@final
@dataclass(frozen=True, slots=True)
class Quantile:
    """Constants for z = Φ⁻¹((1 + t)/2) from v = 2^top · (1 − t²).

    y = offset + exponent · E + f · mantissa(f); z/t = polynomial(y), and tail(y − 2) beyond y = 1. E is v's
    exponent less ``top``, times 2²³: the exponent field in place, less ``bias``. f is v's significand minus 1.5.

    Args:
        bias: the bits of float32 2^top; taken off as integers, so that y keeps its precision near −1 (t near 0).
        polynomial: coefficients of z/t in y, lowest first.
        tail: coefficients of z/t in y − 2, lowest first; empty where y stays below 1.
        mantissa: coefficients of (log2(1.5 + f) − log2(1.5))/f, times −1/15.5; lowest first.
        exponent: factor of E.
        offset: what is left: y = −1 where t = 0.
    """

    bias: int
    polynomial: tuple[float, ...]
    tail: tuple[float, ...]
    mantissa: tuple[float, ...]
    exponent: float
    offset: float

    @classmethod
    def of(cls, top: int, polynomial: tuple[float, ...], tail: tuple[float, ...]) -> Quantile:
        """The constants for v up to 2^top."""
        return cls(
            bias=(127 + top) << 23,
            polynomial=polynomial,
            tail=tail,
            mantissa=tuple(float(np.float32(-c / 15.5)) for c in _LOG2[1:]),
            exponent=float(np.float32(-1.0 / 15.5 / 2**23)),
            offset=float(np.float32(-1.0 - _LOG2[0] / 15.5)),
        )


NEAR: Final = Quantile.of(62, _QUANTILE, ())
"""For 32-bit probabilities: v = 2⁶² (1 − t²), |t| ≤ 1 − 2⁻³¹."""
FAR: Final = Quantile.of(126, _QUANTILE, _TAIL)
"""For 64-bit probabilities: v = 2¹²⁶ (1 − t²), |t| ≤ 1 − 2⁻⁶³."""
