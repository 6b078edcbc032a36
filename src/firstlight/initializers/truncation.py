"""The moments of a truncated normal, and how much σ must grow to make up for a cut.

``elementwise`` and ``variance_scaling`` use them; the draws themselves are ``fields.truncated_normal``'s.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=256)
def truncated_moments(low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of z ~ N(0, 1) given low ≤ z ≤ high.

    With φ the density and Z = Φ(high) - Φ(low): mean = (φ(low) - φ(high)) / Z and
    variance = 1 + (low φ(low) - high φ(high)) / Z - mean². Both cancel in far tails and in narrow windows, so they are
    integrated instead, with the density taken relative to its largest value within the window.

    >>> mean, std = truncated_moments(-2.0, 2.0)
    >>> round(mean, 12), round(std, 8)
    (0.0, 0.87962566)
    """
    nearest = min(max(0.0, low), high)
    # Beyond this distance from the peak the density is below e⁻⁸⁰⁰ of it or the tail has died out.
    start = max(low, nearest - 40.0)
    stop = min(high, nearest + 40.0)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    edges = np.linspace(start, stop, 401)
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half) + half * nodes
    density = np.exp(-(z - nearest) * (z + nearest) / 2) * weights * half
    total = density.sum()
    mean = float((density * (z - nearest)).sum() / total)
    variance = float((density * (z - nearest - mean) ** 2).sum() / total)
    return nearest + mean, math.sqrt(variance)
