"""Curves: healthy noisy ones get no finding, each fault its own, whatever scale and sampling."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import firstlight as fl
from firstlight.checks.curves import make_curve, mann_kendall, shape_of
from firstlight.checks.records import Severity
from firstlight.checks.watch_losses import KEPT, Losses

Noise = Callable[[np.random.Generator, int], np.ndarray]
NOISES: dict[str, Noise] = {
    "none": lambda r, n: np.zeros(n),
    "gaussian": lambda r, n: r.standard_normal(n),
    "one example a batch": lambda r, n: r.chisquare(1, n) - 1,
    "heavy tails": lambda r, n: r.standard_t(3, n) / math.sqrt(3),
    "slow": lambda r, n: np.convolve(r.standard_normal(n + 19), np.ones(20) / math.sqrt(20), "valid"),
}


def _loud(curve: object, **options: float) -> set[str]:
    found = fl.diagnose_curve(curve, **options)
    return {f.code for f in found if f.severity is not Severity.NOTE}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("n", [30, 100, 1000])
def test_a_curve_that_falls_and_settles_is_healthy_under_any_noise(noise: str, n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(60):
        floor, speed, size = rng.uniform(0.02, 0.6), rng.uniform(0.05, 0.5) * n, rng.uniform(0, 0.2)
        mean = floor + (2.3 - floor) * np.exp(-np.arange(n) / speed)
        curve = np.maximum(mean * (1 + size * NOISES[noise](rng, n)), 1e-4)
        assert _loud(curve, trivial=2.3) == set(), (floor, speed, size)


@pytest.mark.parametrize("noise", ["none", "gaussian", "heavy tails"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_a_flat_curve_is_stuck_and_at_chance_if_that_is_known(noise: str, scale: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        curve = scale * (2.303 + 0.05 * NOISES[noise](rng, 200))
        assert _loud(curve) == {"loss-stuck"}
        assert _loud(curve, trivial=scale * 2.303) == {"trivial-plateau"}
        assert _loud(curve, trivial=scale * 9.0) == {"loss-stuck"}


def test_little_data_under_much_noise_leaves_it_open() -> None:
    rng = np.random.default_rng(0)
    assert _loud(2.3 + rng.standard_normal(60)) == set()
    assert _loud(2.3 + 0.01 * rng.standard_normal(49)) == set()


def test_what_diverges_rises_or_swings_is_named() -> None:
    t = np.arange(300)
    assert _loud(2.3 * np.exp(t / 60)) == {"loss-diverged"}
    assert _loud(np.maximum(2.3 - t / 50, 0.3 + t / 300)) == {"loss-rising"}
    assert _loud(2.3 + (-1.0) ** t) == {"loss-oscillating"}
    assert _loud(2.3 + np.sin(t / 8)) == {"loss-oscillating"}
    assert _loud(-2.3 * np.exp(t / 30)) == {"flipped-loss"}


def test_a_loss_below_zero_is_no_divergence() -> None:
    """Densities: a log-likelihood has no bound."""
    rng = np.random.default_rng(0)
    t = np.arange(400)
    assert _loud(7.0 - 32 * (1 - np.exp(-t / 80)) + 0.1 * rng.standard_normal(400)) == set()
    assert _loud(0.4 - t / 120) == set()
    assert _loud(-1.0 + np.exp(t / 60)) == {"loss-diverged"}


def test_slow_is_no_plateau() -> None:
    rng = np.random.default_rng(0)
    for n in (60, 120, 180):
        falling = 2.303 * (1 - 0.0006 * np.arange(n)) + 0.005 * rng.standard_normal(n)
        assert _loud(falling, trivial=2.303) == set()
    assert _loud(2.303 + 0.005 * rng.standard_normal(180), trivial=2.303) == {"trivial-plateau"}


def test_a_jump_of_the_level_is_a_note_with_its_step() -> None:
    rng = np.random.default_rng(0)
    fall = 2 * 0.98 ** np.arange(150) + 0.1 + 0.02 * rng.standard_normal(150)
    (found,) = fl.diagnose_curve(np.concatenate([fall, fall]))
    assert (found.code, found.severity) == ("loss-rising", Severity.NOTE)
    assert abs(found.step - 151) <= 3
    spike = np.concatenate([fall, [40.0], fall[100:] * 0.9])
    assert not fl.diagnose_curve(spike)


def test_a_policy_gradients_loss_may_fade_to_zero() -> None:
    rng = np.random.default_rng(0)
    fades = -np.exp(-np.arange(400) / 100) + 0.4 * rng.standard_normal(400)
    assert _loud(fades) == set()


def test_single_losses_that_are_not_finite_are_counted() -> None:
    curve = 2 * 0.98 ** np.arange(100)
    curve[[10, 40]] = math.nan
    (found,) = fl.diagnose_curve(curve)
    assert (found.code, found.severity, found.step) == ("non-finite-values", Severity.WARNING, 11)
    assert "2 of 100" in found.cause
    curve[60:] = math.nan
    assert fl.diagnose_curve(curve)[0].severity is Severity.ERROR


def test_validation_that_never_comes_down_is_over_fitting() -> None:
    rng = np.random.default_rng(0)
    training, stays = 2.3 * 0.9 ** np.arange(60), 2.3 + 0.02 * rng.standard_normal(60)
    (found,) = fl.diagnose_curve(training, validation=stays)
    assert found.code == "over-fitting"
    assert "never come down" in found.cause
    comes = 0.6 + 1.7 * 0.9 ** np.arange(60)
    assert not fl.diagnose_curve(training, validation=comes)


def test_batch_noise_that_hides_everything_is_a_note() -> None:
    rng = np.random.default_rng(0)
    (found,) = fl.diagnose_curve(rng.chisquare(1, 2000))
    assert (found.code, found.severity) == ("loss-oscillating", Severity.NOTE)
    assert "small batches" in found.cause


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_has_its_step(value: float) -> None:
    curve = make_curve([2.0, 1.9, 1.8, value, value], steps=[10, 20, 30, 40, 50])
    (found,) = fl.diagnose_curve(curve)
    assert (found.code, found.step) == ("non-finite-values", 40)


def test_over_fitting_needs_a_training_loss_that_falls() -> None:
    training = 2 * 0.98 ** np.arange(200)
    validation = np.concatenate([np.linspace(2, 1, 10), np.linspace(1, 1.6, 10)])
    (found,) = fl.diagnose_curve(training, validation=validation)
    assert (found.code, found.severity) == ("over-fitting", Severity.NOTE)
    assert "step 100" in found.cause
    both = fl.diagnose_curve(np.concatenate([training, training[::-1]]), validation=validation)
    assert "over-fitting" not in {f.code for f in both}


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=300),
    st.lists(st.floats(width=32), max_size=30),
    st.one_of(st.none(), st.floats(-1e6, 1e6)),
)
@settings(max_examples=150, deadline=None)
def test_any_numbers_give_findings_that_make_sense(
    loss: list[float], validation: list[float], trivial: float | None
) -> None:
    with np.errstate(all="ignore"):
        found = fl.diagnose_curve(loss, validation=validation, trivial=trivial)
    assert len({f.code for f in found}) == len(found)
    assert all(f.evidence and f.cause and f.remedy and f.fix() for f in found)


@given(st.integers(-1000, 1000), st.integers(-3, 3))
@settings(max_examples=30, deadline=None)
def test_the_verdict_does_not_depend_on_the_unit(seed: int, power: int) -> None:
    rng = np.random.default_rng(abs(seed))
    curve = np.abs(np.cumsum(rng.standard_normal(120)) * rng.uniform(0, 0.2) + 2)
    unit = float(2.0**power)
    one = [f.code for f in fl.diagnose_curve(curve)]
    assert one == [f.code for f in fl.diagnose_curve(curve * unit)]


def test_bad_curves_are_data_errors() -> None:
    for bad in ([], ["a"], [[1.0, 2.0]]):
        with pytest.raises(fl.DataError):
            fl.diagnose_curve(bad)
    with pytest.raises(fl.DataError, match="2 losses and 3 steps"):
        make_curve([1.0, 2.0], steps=[1, 2, 3])
    with pytest.raises(fl.ArgumentError, match="trivial"):
        fl.diagnose_curve([1.0], trivial=math.nan)


def test_mann_kendall_is_standard_normal_where_nothing_moves() -> None:
    rng = np.random.default_rng(0)
    scores = np.array([mann_kendall(rng.standard_normal(20)) for _ in range(4000)])
    # 5 standard errors of the mean and the variance of 4000 draws.
    assert abs(scores.mean()) < 5 / math.sqrt(4000)
    assert abs(scores.var() - 1) < 5 * math.sqrt(2 / 4000) + 0.05  # 0.05: the continuity correction


def test_a_shapes_noise_is_that_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    shape = shape_of(3 + 0.5 * rng.standard_normal(4000))
    assert shape.noise == pytest.approx(0.5, rel=0.1)
    assert shape.error == pytest.approx(0.5 * 1.2533 * math.sqrt(2 / 800), rel=0.1)


@pytest.mark.parametrize("n", [10, 500, KEPT, 3 * KEPT + 7, 30_000])
def test_losses_of_any_length_take_bounded_memory_and_keep_their_shape(n: int) -> None:
    losses = Losses()
    values = 1 + np.exp(-np.arange(n) / (n / 5))
    for i, v in enumerate(values, start=1):
        losses.add(i, float(v))
    curve = losses.curve(None)
    assert len(curve) <= KEPT + 2
    assert curve.steps[-1] == n
    assert np.all(np.diff(curve.steps) > 0)
    assert curve.loss[:5].tolist() == values[:5].tolist()
    expected = np.interp(curve.steps, np.arange(1, n + 1), values)
    assert np.abs(curve.loss - expected).max() < 0.02
    assert Losses.of(losses.state()) == losses
