"""The algebra of signals, against values drawn with them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from firstlight.moments.attended import focus
from firstlight.moments.quadrature import through
from firstlight.moments.sampling import drawn
from firstlight.moments.signal import Signal, measured, mixed

SMALL = st.floats(0.01, 4.0)


def values(signal: Signal, *shape: int) -> torch.Tensor:
    return drawn(signal, shape, torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("signal", [Signal(0.5, 1.0), Signal(0.0, 2.0, 0.5), Signal(-1.0, 1.0, 0.3, 0.6)])
def test_drawn_values_measure_as_they_were_asked_for(signal: Signal) -> None:
    found = measured(values(signal, 24, 16, 4096))
    assert found.mean == pytest.approx(signal.mean, abs=0.08)
    assert found.variance == pytest.approx(signal.variance, rel=0.05)
    assert found.shared == pytest.approx(signal.shared, abs=0.05)
    assert found.local == pytest.approx(signal.local, abs=0.06)


@given(mean=st.floats(-2, 2), variance=SMALL, share=st.floats(0, 1), factor=st.floats(-3, 3))
def test_a_scaled_signal_is_a_linear_function_of_it(mean: float, variance: float, share: float, factor: float) -> None:
    x = Signal(mean, variance, share * variance, 0.0)
    by_rule, by_points = x.scaled(factor), through(lambda z: factor * z, x)
    for name in ("mean", "variance", "shared"):
        assert getattr(by_points, name) == pytest.approx(getattr(by_rule, name), rel=2e-3, abs=1e-6)


@given(a=SMALL, b=SMALL, m=st.floats(-2, 2), n=st.floats(-2, 2))
def test_products_of_independent_values(a: float, b: float, m: float, n: float) -> None:
    x, y = Signal(m, a), Signal(n, b)
    assert x.times(y).second == pytest.approx(x.second * y.second)
    assert x.times(y).mean == pytest.approx(m * n)
    assert x.plus(y).variance == pytest.approx(a + b)


def test_a_mixture_has_the_mean_square_of_its_parts() -> None:
    parts = [Signal(1.0, 0.5), Signal(-2.0, 1.5)]
    whole = mixed(parts, [1, 3])
    assert whole.second == pytest.approx((parts[0].second + 3 * parts[1].second) / 4)


@pytest.mark.parametrize("function", [torch.relu, torch.tanh, F.gelu, F.silu, torch.sin, torch.square, torch.abs])
def test_through_a_function_as_drawn_values_go(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    root = Signal(0.3, 1.5, 0.6, 0.9)
    expected = measured(function(values(root, 24, 16, 4096)))
    found = through(function, root)
    assert found.mean == pytest.approx(expected.mean, abs=0.06)
    assert found.variance == pytest.approx(expected.variance, rel=0.06)
    assert found.shared == pytest.approx(expected.shared, abs=0.08 * max(1, expected.variance))
    assert found.local == pytest.approx(expected.local, abs=0.08 * max(1, expected.variance))


def test_relu_keeps_half_the_second_moment_and_he_restores_it() -> None:
    assert through(torch.relu, Signal(0.0, 1.0)).second == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("mixing", [lambda z: z.flip(0), lambda z: z.cumsum(0), lambda z: z.sum()])
def test_a_function_that_mixes_values_is_refused(mixing: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with pytest.raises(ArithmeticError):
        through(mixing, Signal(0.0, 1.0))


@pytest.mark.parametrize("variance", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("keys", [4, 32])
def test_softmax_concentrates_as_drawn_logits_do(variance: float, keys: int) -> None:
    logits = torch.randn(20_000, keys, generator=torch.Generator().manual_seed(1)) * math.sqrt(variance)
    expected = float(logits.softmax(-1).square().sum(-1).mean())
    assert focus(variance, keys).squares == pytest.approx(expected, rel=0.1)
    assert focus(0.0, keys).squares == 1 / keys
    assert focus(math.inf, keys).squares == 1.0
