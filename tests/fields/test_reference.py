"""The reference engine: fma is rounded once, and the quantile is the normal one."""

from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erfinv, ndtri

from firstlight.fields import normal, truncated_normal
from firstlight.fields.reference import _far, _near, fma

ordinary = st.floats(2.0**-40, 2.0**40, width=32) | st.floats(-(2.0**40), -(2.0**-40), width=32)
close = st.integers(-(1 << 24), 1 << 24)


def nearest_float32(x: Fraction) -> float:
    """``x`` rounded to nearest even by comparing exactly with its neighbours."""
    guess = np.float32(float(x))
    around = (np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf)))
    return float(min(around, key=lambda f: (abs(Fraction(float(f)) - x), int(f.view(np.int32)) & 1)))


@given(ordinary, ordinary, ordinary)
@settings(max_examples=500, deadline=None)
def test_fma_is_rounded_once(a, b, c):
    found = float(fma(torch.tensor([a]), torch.tensor([b]), torch.tensor([c])))
    assert found == nearest_float32(Fraction(a) * Fraction(b) + Fraction(c))


@given(close, close, st.integers(-60, 4))
@settings(max_examples=500, deadline=None)
def test_fma_at_near_ties(a, b, shift):
    """Sums that float64 cannot hold, next to a tie of float32: where rounding twice goes wrong."""
    c = float(np.float32(np.ldexp(float((a * b) | 1), -30)))
    x, y = float(np.ldexp(a, shift)), float(b)
    found = float(fma(torch.tensor([x]), torch.tensor([y]), torch.tensor([c])))
    assert found == nearest_float32(Fraction(x) * Fraction(y) + Fraction(c))


def test_normal_is_the_quantile_to_6e_7():
    """Relative error against scipy, on the 2¹⁶ most extreme, the 2¹⁶ most central and 2¹⁸ other words."""
    generator = np.random.default_rng(0)
    n = np.concatenate(
        [2**31 - 1 - 2 * np.arange(2**16), 2 * np.arange(2**16) + 1, 2 * generator.integers(0, 2**30, 2**18) + 1]
    )
    tail = (2.0**31 - n) / 2**32
    exact = np.where(tail > 0.3, np.sqrt(2) * erfinv(n / 2.0**31), -ndtri(tail))
    found = _near(torch.from_numpy(n), normal(0.0, 1.0)).double().numpy()
    assert np.abs(found / exact - 1).max() < 6e-7
    assert abs(found.max() - 6.2303) < 1e-4
    mirrored = _near(torch.from_numpy(-n), normal(0.0, 1.0)).double().numpy()
    np.testing.assert_array_equal(mirrored, -found)


def test_far_quantile_to_6e_7():
    """The 64-bit path, from the median to the very last of 2⁶⁴ probabilities, relative to scipy."""
    generator = np.random.default_rng(1)
    distance = 2.0 ** generator.uniform(0, 63, 2**18)  # of |n| from 2⁶³: all tails alike
    n = (2**63 - 1) - distance.astype(np.int64)
    n = np.concatenate([n, (2.0 ** generator.uniform(0, 62, 2**16)).astype(np.int64)]) | 1
    tail = ((2**63 - 1) - n + 1).astype(np.float64) / 2.0**64
    exact = np.where(tail > 0.3, np.sqrt(2) * erfinv(n / 2.0**63), -ndtri(tail))
    found = _far(torch.from_numpy(n), truncated_normal(0.0, 1.0, 5.0, 9.0)).double().numpy()
    assert np.abs(found / exact - 1).max() < 6e-7
