"""Against torch.nn.init where it defines the same thing: bounds and moments over a million values."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import nn

import firstlight as fl
from firstlight.initializers import Initializer, Layout, sample
from firstlight.initializers.truncation import truncated_moments

SHAPE = (1000, 1100)
SAME = {
    "xavier_uniform": (fl.XavierUniform(1.5), lambda t: nn.init.xavier_uniform_(t, 1.5)),
    "xavier_normal": (fl.XavierNormal(), nn.init.xavier_normal_),
    "kaiming_uniform": (fl.KaimingUniform(), lambda t: nn.init.kaiming_uniform_(t, nonlinearity="relu")),
    "kaiming_normal": (
        fl.KaimingNormal("fan_out", "leaky_relu", 0.2),
        lambda t: nn.init.kaiming_normal_(t, 0.2, "fan_out"),
    ),
    "default": (
        fl.KaimingUniform("fan_in", "leaky_relu", math.sqrt(5)),
        lambda t: nn.init.kaiming_uniform_(t, math.sqrt(5)),
    ),
    "uniform": (fl.Uniform(-0.1, 0.3), lambda t: nn.init.uniform_(t, -0.1, 0.3)),
    "normal": (fl.Normal(0.1, 0.2), lambda t: nn.init.normal_(t, 0.1, 0.2)),
    "trunc_normal": (
        fl.TruncatedNormal(0.0, 0.02, -2.0, 2.0),
        lambda t: nn.init.trunc_normal_(t, std=0.02, a=-0.04, b=0.04),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_same_distribution(name: str) -> None:
    """First and second moments within 6 standard errors of their difference; false alarms below 1e-7 in all."""
    initializer: Initializer = SAME[name][0]
    a = sample(initializer, Layout.mapping(SHAPE), seed=2).double()
    b = SAME[name][1](torch.empty(SHAPE)).double()
    for power in (1, 2, 4):
        x, y = a**power, b**power
        error = math.sqrt((x.var() + y.var()).item() / a.numel())
        assert abs((x.mean() - y.mean()).item()) < 6 * error
    if "normal" not in name or name == "trunc_normal":
        assert a.max().item() == pytest.approx(b.max().item(), rel=1e-3)


def test_formulas() -> None:
    layout = Layout.mapping((300, 500))
    assert fl.GlorotUniform().draw(layout).std == pytest.approx(math.sqrt(6 / 800) / math.sqrt(3))
    assert fl.HeNormal().draw(layout).std == pytest.approx(math.sqrt(2 / 500))
    assert fl.LecunNormal().draw(layout).std == pytest.approx(math.sqrt(1 / 500))
    assert fl.VarianceScaling(3.0, "fan_geo_avg", "normal").draw(layout).std == pytest.approx(
        math.sqrt(3 / math.sqrt(300 * 500))
    )
    uniform = sample(fl.GlorotUniform(), layout)
    assert uniform.abs().max() <= math.sqrt(6 / 800)


@pytest.mark.parametrize(
    ("low", "high"),
    [(-2, 2), (-3, 3), (-math.inf, 0), (-1, 1), (1, 1.001), (4, 5), (6, math.inf), (-math.inf, math.inf), (-9, -5)],
)
def test_truncation_is_scipys(low: float, high: float) -> None:
    theirs = stats.truncnorm(low, high)
    mean, std = truncated_moments(low, high)
    assert mean == pytest.approx(theirs.mean(), rel=1e-8, abs=1e-12)
    assert std == pytest.approx(theirs.std(), rel=1e-5)


def test_both_corrections_say_what_they_mean() -> None:
    layout = Layout.mapping((1000, 1000))
    parent = sample(fl.TruncatedNormal(std=0.02, std_of="parent"), layout)
    result = sample(fl.TruncatedNormal(std=0.02, std_of="result"), layout)
    assert parent.std().item() == pytest.approx(0.02 * 0.87962566, rel=5e-3)
    assert result.std().item() == pytest.approx(0.02, rel=5e-3)
    assert parent.abs().max() <= 0.04
    assert result.abs().max().item() == pytest.approx(0.04 / 0.87962566, rel=1e-3)
