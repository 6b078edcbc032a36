"""Φ in integers, against numbers of 50 digits (mpmath, recorded) and against scipy."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.special import ndtr

from firstlight.fields.probability import BITS, cumulative, rounded

RECORDED = {
    -9.5: "1.049451507536260749283478017157665166426872552157e-21",
    -7.0: "0.0000000000012798125438858350043836236907808329980328441541987",
    -2.0: "0.022750131948179207200282637166533437471776223701678",
    -0.0001: "0.49996010577202634711026137461489187283337253292924",
    0.1: "0.53982783727702898366893390770212735281123659742986",
    0.6744897501960817: "0.74999999999999998800218300165623736860361838319951",
    3.0: "0.99865010196836990547334818523240502262217063184162",
}


@pytest.mark.parametrize(("x", "expected"), RECORDED.items())
def test_recorded_digits(x, expected):
    error = abs(Fraction(cumulative(x), 1 << BITS) / Fraction(expected) - 1)
    assert error < Fraction(1, 10**45)


def test_close_to_scipy_everywhere():
    x = np.linspace(-11.9, 11.9, 2001)
    ours = np.array([cumulative(float(v)) / (1 << BITS) for v in x])
    np.testing.assert_allclose(ours, ndtr(x), rtol=1e-13)


def test_symmetric_and_ascending():
    x = [0.0, 1e-300, 1e-9, 0.5, 3.0, 8.0, 11.999, 12.0, 1e308, float("inf")]
    found = [cumulative(v) for v in x]
    assert found == sorted(found)
    for v in x:
        assert cumulative(v) + cumulative(-v) == 1 << BITS


def test_rounding_to_fewer_bits():
    assert rounded(1 << BITS, 32) == 1 << 32
    assert rounded((1 << (BITS - 33)) - 1, 32) == 0
    assert rounded(1 << (BITS - 33), 32) == 1
