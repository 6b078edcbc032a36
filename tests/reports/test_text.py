"""Numbers as text: one form for each kind, never a wrong sign, never a p of 0, never a number for what is missing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.reports import text

shares = st.floats(0, 1)


@given(shares)
def test_a_percentage_reads_back_to_its_last_digit(share: float) -> None:
    assert abs(float(text.percent(share).removesuffix(" %")) / 100 - share) <= 0.0005 + 1e-12


@given(st.floats(-1, 1))
def test_points_carry_the_sign_of_what_they_show(difference: float) -> None:
    shown = text.points(difference)
    value = float(shown.replace("−", "-"))
    assert abs(value / 100 - difference) <= 0.0005 + 1e-12
    assert (shown[0] in "+−") == (value != 0)


@given(st.floats(0, 1))
def test_a_p_value_is_never_shown_as_smaller_than_it_is(p: float) -> None:
    shown = text.p_value(p)
    assert shown == "< 0.001" if p < 0.001 else abs(float(shown) - p) <= 0.0005 + 1e-12
    assert text.equals_p(p) in (f"p {shown}", f"p = {shown}")
    assert "= <" not in text.equals_p(p)


@given(st.floats(1e-9, 10))
def test_a_learning_rate_reads_back(value: float) -> None:
    assert math.isclose(float(text.rate(value)), value, rel_tol=5e-3)


@given(st.integers(-300, 300))
def test_powers_of_ten_far_from_one_are_powers(exponent: int) -> None:
    shown = text.magnitude(10.0**exponent)
    if -3 <= exponent < 4:
        assert float(shown) == pytest.approx(10.0**exponent)
    else:
        digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
        assert shown.startswith("10")
        assert int(shown[2:].translate(digits)) == exponent


def test_what_is_missing_is_a_dash() -> None:
    nan = math.nan
    shown = (text.percent(nan), text.points(nan), text.count(nan), text.p_value(nan), text.span(nan, 0.2))
    assert set(shown) == {text.MISSING}


def test_rates_do_not_hide_a_gap() -> None:
    assert text.rates([0.01, 0.03, 0.1], tried=[0.001, 0.01, 0.03, 0.1]) == "0.01 … 0.1"
    assert text.rates([0.01, 0.1], tried=[0.001, 0.01, 0.03, 0.1]) == "0.01, 0.1"


def test_durations() -> None:
    assert [text.seconds(s) for s in (0.2, 59.4, 60, 3599, 3600, 90061)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "59 min 59 s",
        "1 h 0 min",
        "25 h 1 min",
    ]


def test_a_listing_reads_as_a_sentence() -> None:
    assert text.listing([]) == ""
    assert text.listing(["a", "b"]) == "a and b"


def test_a_table_lines_up() -> None:
    lines = text.table(("arm", "accuracy"), [("torch", "9.0 %"), ("he_normal", "95.0 %")]).splitlines()
    assert lines[0] == "arm        accuracy"
    assert [line.index("%") for line in lines[2:]] == [len(lines[0]) - 1] * 2
