"""The values have the distributions they are named for.

Each test draws once, with a fixed key, and refuses p-values below 10⁻⁶ shared out over what it looks at: that is the
chance that a new key would fail it though nothing is wrong. The default run draws 4 million values; ``-m slow`` 10⁸.
Run with ``-s`` to see the p-values.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import erfcinv, ndtr, ndtri

from firstlight.fields import key, normal, truncated_normal, uniform, values, words

ALARM = 1e-6
QUICK, FULL = 1 << 22, 100_000_000
BLOCK = 1 << 22
CELLS = 1 << 16
INF = math.inf

WINDOWS = [
    (-2.0, 2.0),
    (-3.0, 3.0),
    (-1.0, 2.5),
    (0.3, 0.31),
    (-INF, 1.0),
    (2.0, INF),
    (5.0, INF),
    (-7.0, -6.5),
    (0.0, 1e-2),
]
sizes = pytest.mark.parametrize("count", [QUICK, pytest.param(FULL, marks=pytest.mark.slow)])


def report(text: str) -> None:
    print(text)  # noqa: T201


def counts(transform, count: int, low: float, high: float) -> np.ndarray:
    """How many of ``count`` values lie in each of CELLS equal cells of [low, high]; outside counts at the ends."""
    found = torch.zeros(CELLS, dtype=torch.int64)
    where = key(20261123, repr(transform))
    for start in range(0, count, BLOCK):
        x = values(transform, where, start, min(start + BLOCK, count)).double()
        cell = ((x - low) * (CELLS / (high - low))).long().clamp_(0, CELLS - 1)
        found += torch.bincount(cell, minlength=CELLS)
    return found.numpy()


def kolmogorov(found: np.ndarray, distribution: np.ndarray) -> float:
    """p-value of the largest distance between the empirical and the true distribution at the cells' edges."""
    n = int(found.sum())
    distance = np.abs(np.cumsum(found) / n - distribution[1:]).max()
    return float(stats.kstwobign.sf(math.sqrt(n) * distance))


def chi_square(found: np.ndarray, expected: np.ndarray) -> float:
    """p-value of Pearson's statistic; neighbouring cells are joined until each expects 20."""
    edges = np.searchsorted(np.cumsum(expected), np.arange(0, expected.sum() - 20, max(20.0, expected.sum() / 4096)))
    edges = np.unique(edges)
    f, e = np.add.reduceat(found, edges), np.add.reduceat(expected, edges)
    return float(stats.chi2.sf(((f - e) ** 2 / e).sum(), len(e) - 1))


def check(name: str, count: int, **p_values: float) -> None:
    report(f"{name}, {count:.0e}: " + ", ".join(f"{what} p={p:.3g}" for what, p in p_values.items()))
    for what, p in p_values.items():
        assert p >= ALARM / len(p_values), (name, what, p)


def moments_p(transform, count: int, exact: list[float], centre: float = 0.0, scale: float = 1.0) -> float:
    """Smallest two-sided p-value of the raw moments 1 … len(exact)/2, times their number (Bonferroni)."""
    where, order = key(20261123, repr(transform)), len(exact) // 2
    sums = torch.zeros(order, dtype=torch.float64)
    for start in range(0, count, BLOCK):
        x = (values(transform, where, start, min(start + BLOCK, count)).double() - centre) / scale
        power = x.clone()
        for k in range(order):
            sums[k] += power.sum()
            power *= x
    deviations = [
        (float(sums[k - 1]) / count - exact[k - 1]) / math.sqrt((exact[2 * k - 1] - exact[k - 1] ** 2) / count)
        for k in range(1, order + 1)
    ]
    return min(1.0, order * min(float(2 * stats.norm.sf(abs(z))) for z in deviations))


@sizes
def test_uniform(count):
    found = counts(uniform(-1.0, 1.0), count, -1.0, 1.0)
    exact = [0.0 if k % 2 else 1 / (k + 1) for k in range(1, 17)]
    check(
        "uniform",
        count,
        ks=kolmogorov(found, np.linspace(0, 1, CELLS + 1)),
        chi2=chi_square(found, np.full(CELLS, count / CELLS)),
        moments=moments_p(uniform(-1.0, 1.0), count, exact),
    )


@sizes
def test_normal(count):
    edges = np.linspace(-8.0, 8.0, CELLS + 1)
    distribution = ndtr(edges)
    found = counts(normal(0.0, 1.0), count, -8.0, 8.0)
    expected = count * (ndtr(-np.abs(edges[:-1])) - ndtr(-np.abs(edges[1:]))) * np.where(edges[:-1] < 0, -1, 1)
    tail = np.abs(edges[:-1] + 8.0 / CELLS) > 3.5
    exact = [0.0 if k % 2 else float(math.prod(range(1, k, 2))) for k in range(1, 17)]
    check(
        "normal",
        count,
        ks=kolmogorov(found, distribution),
        chi2=chi_square(found, expected),
        tail=tail_chi_square(found[tail], expected[tail]),
        moments=moments_p(normal(0.0, 1.0), count, exact),
    )


def tail_chi_square(found: np.ndarray, expected: np.ndarray) -> float:
    """Chi-square of cells beyond 3.5 σ with free total, each joined until it expects 20."""
    edges, total = [0], 0.0
    for index, e in enumerate(expected):
        total += e
        if total >= max(20.0, expected.sum() / 64):
            edges.append(index + 1)
            total = 0.0
    edges = edges[:-1] if expected[edges[-1] :].sum() < 20 else edges
    f, e = np.add.reduceat(found, edges), np.add.reduceat(expected, edges)
    return float(stats.chi2.sf(((f - e) ** 2 / e).sum(), len(e)))


@sizes
@pytest.mark.parametrize(("low", "high"), WINDOWS)
def test_truncated_normal(low, high, count):
    """Also the asymmetric windows, and those of the 64-bit path (5, ∞), (−7, −6.5)."""
    transform = truncated_normal(0.0, 1.0, low, high)
    bottom, top = max(low, -6.5 if high > -6 else -8.0), min(high, 8.0 if low > 4 else 6.5)
    edges = np.linspace(bottom, top, CELLS + 1)
    # The tail's own side, so that far windows keep their precision
    mirrored = low > 0
    side = ndtr(-edges) if mirrored else ndtr(edges)
    a, b = (ndtr(-low), ndtr(-high)) if mirrored else (ndtr(low), ndtr(high))
    distribution = (side - a) / (b - a)
    found = counts(transform, count, bottom, top)
    # Cells that float32 resolves only coarsely are no cells to count in
    coarse = max(abs(bottom), abs(top)) * 2**-23 * CELLS / (top - bottom) > 0.05
    tests = {"ks": kolmogorov(found, distribution)}
    if not coarse:
        tests["chi2"] = chi_square(found, np.diff(distribution) * count)
    check(f"truncated [{low}, {high}]", count, **tests)


def test_every_word_of_the_tail_is_where_it_belongs():
    """Values beyond the quantile of 2⁻ᵏ come exactly from the words that say so, k up to 20: no tail is lost."""
    where, count = key(1, "tail"), 1 << 22
    x = values(normal(0.0, 1.0), where, 0, count).double()
    signed = (words(where, 0, count) ^ 0x80000000) - 0x80000000
    for k in range(3, 21):
        bound = float(-ndtri(2.0**-k))
        beyond = (signed | 1) > (1 << 31) - (1 << (32 - k))
        near = (x - bound).abs() < 3e-6  # rounding decides here
        assert torch.equal((x > bound) | near, beyond | near)
        observed, expected = int(beyond.sum()), count * 2.0**-k
        p = 2 * min(stats.poisson.cdf(observed, expected), stats.poisson.sf(observed - 1, expected))
        assert p > ALARM / 18


def test_neighbours_and_fields_are_not_correlated():
    """Correlation of a field with itself at lags around the layout's 16 and 64, and with other fields."""
    count = 1 << 22
    x = values(normal(0.0, 1.0), key(3, "a"), 0, count).double()
    others = [values(normal(0.0, 1.0), k, 0, count).double() for k in (key(4, "a"), key(3, "b"))]
    pairs = [(x[:-lag], x[lag:]) for lag in (1, 2, 3, 4, 15, 16, 17, 48, 63, 64, 65, 1024)] + [(x, y) for y in others]
    deviations = [float((a * b).sum()) / math.sqrt(len(a)) for a, b in pairs]
    deviations += [float(((a * a - 1) * (b * b - 1)).sum()) / (2 * math.sqrt(len(a))) for a, b in pairs]
    limit = math.sqrt(2) * float(erfcinv(ALARM / len(deviations)))
    assert max(map(abs, deviations)) < limit
