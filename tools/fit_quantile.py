"""Fit the polynomials of ``firstlight/fields/coefficients.py`` and print them as that file has them.

Needs scipy. Φ⁻¹((1 + t)/2) / t is smooth in w = −log2(1 − t²), so one polynomial covers what 32-bit probabilities
reach, w up to 31; a second takes 64-bit ones from there to 62. log2 of a significand is a third. Each is a minimax fit
(Lawson's iteratively reweighted least squares on Chebyshev nodes). The quantiles' coefficients are rounded to float32
from the highest to the lowest, with the lower ones refitted after each rounding.

    python tools/fit_quantile.py            # prints the coefficients and the errors of the fits
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import erfinv, ndtri

Array = np.ndarray
NODES = 4000


def quantile_over_t(w: Array) -> Array:
    """Φ⁻¹((1 + t)/2) / t with t = √(1 − 2^−w), accurate at both ends."""
    t = np.sqrt(-np.expm1(-w * np.log(2.0)))
    tail = np.exp2(-w) / (1 + t)  # 1 − t
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(tail > 0.3, np.sqrt(2.0) * erfinv(t), -ndtri(tail / 2))
        return np.where(t < 1e-9, np.sqrt(np.pi / 2), z / t)


def lawson(matrix: Array, target: Array, weight: Array, rounds: int = 60) -> Array:
    """Coefficients that (nearly) minimise max |matrix · c − target| · weight."""
    importance, best, least = np.ones(len(target)), np.zeros(matrix.shape[1]), np.inf
    for _ in range(rounds):
        s = np.sqrt(importance) * weight
        c = np.linalg.lstsq(matrix * s[:, None], target * s, rcond=None)[0]
        error = np.abs(matrix @ c - target) * weight
        if error.max() < least:
            best, least = c, error.max()
        importance *= error + 1e-3 * error.max()
        importance /= importance.sum()
    return best


def fit(function: Callable[[Array], Array], start: float, stop: float, degree: int, relative: bool) -> list[float]:
    """float32 coefficients, lowest first, in x = (2·u − start − stop)/(stop − start) on [−1, 1]."""
    x = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    y = function((stop - start) / 2 * x + (start + stop) / 2)
    weight = 1 / np.abs(y) if relative else np.ones(NODES)
    rounded: list[float] = []  # highest first
    for k in range(degree, -1, -1):
        rest = y - sum(c * x ** (degree - j) for j, c in enumerate(rounded))
        polynomial = chebyshev.cheb2poly(lawson(chebyshev.chebvander(x, k), rest, weight))
        rounded.append(float(np.float32(polynomial[k])))
    error = np.abs(sum(c * x ** (degree - j) for j, c in enumerate(rounded)) - y) * weight
    print(f"# degree {degree} on [{start}, {stop}]: {'relative' if relative else 'absolute'} error {error.max():.2e}")
    return rounded[::-1]


def fit_log2(degree: int) -> list[float]:
    """log2(1.5 + f) on |f| ≤ ½, in powers of f, float64: the engines' constants are derived from these."""
    x = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    y = np.log2(1.5 + x / 2)
    c = chebyshev.cheb2poly(lawson(chebyshev.chebvander(x, degree), y, np.ones(NODES)))
    print(f"# log2, degree {degree}: absolute error {np.abs(np.polynomial.polynomial.polyval(x, c) - y).max():.2e}")
    return [float(v) for v in c * 2.0 ** np.arange(degree + 1)]


def show(name: str, coefficients: list[float]) -> None:
    """Print one tuple as source."""
    print(f"{name}: Final = (")
    for c in coefficients:
        print(f"    {c!r},")
    print(")")


if __name__ == "__main__":
    show("_LOG2", fit_log2(7))
    show("_QUANTILE", fit(quantile_over_t, 0.0, 31.0, 16, relative=True))
    show("_TAIL", fit(quantile_over_t, 31.0, 62.0, 7, relative=True))
