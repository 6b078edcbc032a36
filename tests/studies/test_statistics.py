"""Intervals, tests and corrections against known results and their own laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from firstlight.studies.statistics import confidence_set, holm, interval, paired_p, smallest_p

floats = st.floats(-1e3, 1e3, allow_nan=False)


def test_one_value_or_equal_values_have_no_spread() -> None:
    assert interval([0.5]).low == interval([0.5]).high == 0.5
    assert interval([0.25] * 7).low == 0.25
    assert interval([]).n == 0
    assert math.isnan(interval([math.nan]).mean)
    assert interval([1.0, math.nan, 1.0]).n == 2


@given(st.lists(floats, min_size=2, max_size=12))
def test_an_interval_holds_its_mean_and_stays_within_the_values(values: list[float]) -> None:
    found = interval(values)
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - slack <= found.low <= found.mean + slack
    assert found.mean - slack <= found.high <= max(values) + slack
    assert interval(values) == found


def test_intervals_cover_the_true_mean_about_as_often_as_they_say() -> None:
    """1,000 samples of 20 normals: BCa covers about 92 % there; outside 88 to 97 % is beyond 4.5 standard errors."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        found = interval(list(rng.standard_normal(20)))
        covered += found.low <= 0 <= found.high
    assert 880 <= covered <= 970


@pytest.mark.parametrize(
    ("differences", "p"),
    [([1, 2, 3], 0.25), ([1] * 5, 2 / 32), ([1, -1], 1.0), ([0, 0, 0], 1.0), ([], 1.0), ([5, 4, 3, -1], 4 / 16)],
)
def test_exact_p_by_hand(differences: list[float], p: float) -> None:
    assert paired_p(differences) == p


@given(st.lists(floats, min_size=1, max_size=10))
def test_exact_p_is_scipys(differences: list[float]) -> None:
    if len(differences) > 1 and np.ptp(np.abs(differences)) > 1e-6:
        theirs = stats.permutation_test(
            (np.array(differences), np.zeros(len(differences))),
            lambda x, y: np.sum(x - y),
            permutation_type="samples",
            n_resamples=np.inf,
            alternative="two-sided",
        )
        assert paired_p(differences) == pytest.approx(min(1.0, theirs.pvalue), abs=1e-12)
    assert smallest_p(len(differences)) <= paired_p(differences) <= 1
    assert paired_p(differences) == paired_p([-d for d in differences])


def test_many_pairs_are_sampled_and_never_certain() -> None:
    p = paired_p([1.0] * 40)
    assert 0 < p < 1e-3
    assert p == paired_p([1.0] * 40)


def test_p_is_uniform_under_the_null() -> None:
    """500 samples of 10: the share with p ≤ 0.05 is within 4.9 standard errors of what the test's steps allow."""
    rng = np.random.default_rng(2)
    low = sum(paired_p(rng.standard_normal(10).tolist()) <= 0.05 for _ in range(500))
    assert low <= 500 * 0.05 + 4.9 * math.sqrt(500 * 0.05 * 0.95)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_corrects_upwards_keeps_order_and_stays_below_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for p, c in zip(p_values, corrected, strict=True):
        assert p <= c <= min(1.0, len(p_values) * p) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(corrected)[order]) == sorted(corrected)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


@pytest.mark.parametrize("arms", [2, 5, 9])
def test_the_confidence_set_seldom_leaves_out_an_arm_as_good_as_the_best(arms: int) -> None:
    """300 studies of equal arms: at most 5 % lose one, within 4.9 standard errors."""
    rng = np.random.default_rng(3)
    lost = 0
    for _ in range(300):
        shared = rng.normal(0, 0.02, 10)  # what a seed does to every arm
        lost += len(confidence_set(rng.normal(0.9, 0.02, (arms, 10)) + shared)) < arms
    assert lost <= 300 * (0.05 + 4.9 * math.sqrt(0.05 * 0.95 / 300))


def test_the_confidence_set_loses_what_is_clearly_worse_and_keeps_the_best() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        good = rng.normal(0.9, 0.01, (3, 10))
        found = confidence_set([*good, rng.normal(0.6, 0.05, 10), np.full(10, 0.2)])
        assert not {3, 4} & set(found)
        assert int(good.mean(axis=1).argmax()) in found
    assert confidence_set([[0.5]]) == (0,)
    assert confidence_set([[0.5, 0.5], [0.5, 0.5]]) == (0, 1)
