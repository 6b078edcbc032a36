"""The statistics of a study: bootstrap intervals, paired permutation tests, Holm's correction.

``analysis`` applies them to results. All are deterministic: resampling has a fixed seed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

from .records import Interval

LEVEL = 0.95
_RESAMPLES = 9999
_EXACT_UP_TO = 14
# Exchanges drawn for one test of equal means, in blocks that fit the cache.
_BLOCKS, _DRAWS = 10, 500


def interval(values: Sequence[float]) -> Interval:
    """The mean of ``values`` with its 95 % bootstrap interval (BCa, Efron 1987); NaN for no values.

    One value, or equal ones, carry no spread: the interval is the value itself.

    >>> interval([1.0, 1.0, 1.0])
    Interval(mean=1.0, low=1.0, high=1.0, n=3)
    """
    x = np.asarray([v for v in values if not math.isnan(v)], dtype=float)
    if not x.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(x.mean())
    if x.size == 1 or np.ptp(x) == 0 or not np.isfinite(x).all():
        return Interval(mean, mean, mean, x.size)
    bounds = _bca(x)
    return Interval(mean, bounds[0], bounds[1], x.size)


def _bca(x: np.ndarray) -> tuple[float, float]:
    """Bias-corrected and accelerated bounds; the percentile bounds where the correction is not defined."""
    rng = np.random.Generator(np.random.PCG64(0))
    for method in ("BCa", "percentile"):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            found = stats.bootstrap(
                (x,), np.mean, n_resamples=_RESAMPLES, confidence_level=LEVEL, method=method, rng=rng
            ).confidence_interval
        if math.isfinite(found.low) and math.isfinite(found.high):
            break
    return float(found.low), float(found.high)


def paired_p(differences: Sequence[float]) -> float:
    """Two-sided p of the sign-flip permutation test on paired differences; 1 where there is no difference at all.

    Under the null each difference is as likely as its negative. All 2ⁿ sign patterns up to n = 14, beyond that 9,999
    drawn ones; n pairs can give no p below 2 / 2ⁿ.

    >>> paired_p([1.0, 2.0, 3.0])
    0.25
    """
    x = np.asarray(differences, dtype=float)
    if not x.size or not x.any():
        return 1.0
    observed = abs(x.sum())
    if x.size <= _EXACT_UP_TO:
        signs = 1.0 - 2.0 * ((np.arange(2**x.size)[:, None] >> np.arange(x.size)) & 1)
        extra = 0
    else:
        rng = np.random.Generator(np.random.PCG64(0))
        signs = rng.choice((-1.0, 1.0), size=(_RESAMPLES, x.size))
        extra = 1  # the observed pattern itself, so that p is never 0
    sums = np.abs(signs @ x)
    # Sums of the same numbers in another order may differ in the last bits.
    extreme = int((sums >= observed * (1 - 1e-12)).sum())
    return (extreme + extra) / (len(signs) + extra)


def confidence_set(values: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """Which of several arms may be the best: the model confidence set (Hansen, Lunde & Nason 2011) at 95 %.

    While the arms in the set differ (a permutation test of equal means, the arms' values exchanged within each pair,
    with the distance of the lowest mean below the set's as its statistic), the lowest leaves. Where all arms are
    equally good, all stay in 95 % of studies: no other correction for having looked for the highest mean is needed.

    Args:
        values: for each arm its values, one for each seed, in the same order of seeds.

    Returns:
        The positions of the arms that stay, ascending.

    >>> confidence_set([[0.91, 0.92, 0.9, 0.93, 0.9], [0.9, 0.93, 0.91, 0.92, 0.91], [0.2, 0.21, 0.2, 0.2, 0.19]])
    (0, 1)
    """
    x = np.asarray(values, dtype=float)
    staying = list(range(len(x)))
    while len(staying) > 1:
        means = x[staying].mean(axis=1)
        if _equal_means_p(x[staying]) > 1 - LEVEL:
            break
        del staying[int(means.argmin())]
    return tuple(staying)


def _equal_means_p(x: np.ndarray) -> float:
    """p of the lowest row's distance below the mean of all rows, when the values of each column may be exchanged."""
    rng = np.random.Generator(np.random.PCG64(0))

    def statistic(rows: np.ndarray) -> np.ndarray:
        means = rows.mean(axis=-1)
        return np.asarray(means.mean(axis=-1) - means.min(axis=-1))

    if not np.ptp(x, axis=0).any():
        return 1.0
    observed = statistic(x)
    extreme = 1
    for _ in range(_BLOCKS):
        shuffled = rng.permuted(np.broadcast_to(x, (_DRAWS, *x.shape)), axis=1)
        extreme += int((statistic(shuffled) >= observed * (1 - 1e-12)).sum())
    return extreme / (_BLOCKS * _DRAWS + 1)


def smallest_p(pairs: int) -> float:
    """The smallest p that ``paired_p`` can give for so many pairs."""
    return 2.0 ** (1 - pairs) if pairs <= _EXACT_UP_TO else 1 / (_RESAMPLES + 1)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's (1979) step-down correction: adjusted p values that hold the family-wise error rate.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return tuple(adjusted)
