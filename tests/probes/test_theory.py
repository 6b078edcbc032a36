"""What a probe measures is what mean field theory says of random networks, within the scatter of finite ones.

A layer of n units multiplies a second moment by a factor whose logarithm has variance about 5/n (ReLU) and mean half of
that below the infinite network's. Bounds are six standard errors of the mean over seeds; a bound that rests on measured
scatter says so.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from firstlight.probes import DepthScale, Kind, Light, measure

from .nets import normal, plain

SEEDS = range(4)


def expectation(values: torch.Tensor) -> float:
    """E over z ~ N(0, 1) of values on the grid ``Z``."""
    return float((values * WEIGHTS).sum())


Z = torch.linspace(-9, 9, 4001, dtype=torch.float64)
WEIGHTS = torch.exp(-Z * Z / 2) / torch.exp(-Z * Z / 2).sum()


def fixed_point(weight: float, bias: float) -> float:
    """q* of a tanh network: q = σ_w² E[tanh²(√q z)] + σ_b²."""
    q = 1.0
    for _ in range(3000):
        q = weight * expectation(torch.tanh(math.sqrt(q) * Z) ** 2) + bias
    return q


def slope_of(light: Light, of: str) -> DepthScale:
    return next(s for s in light.depth_scales if s.of == of)


def standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


@pytest.mark.parametrize(("weight_std", "factor"), [(math.sqrt(2), 1.0), (1.0, 0.5)], ids=["He", "Glorot"])
def test_a_relu_layer_keeps_the_second_moment_under_he_and_halves_it_under_glorot(
    weight_std: float, factor: float
) -> None:
    width, depth = 256, 20
    rates = []
    for seed in SEEDS:
        places = measure(plain(width, depth, nn.ReLU, weight_std, seed=seed), normal(32, width, seed=seed)).of(
            Kind.WEIGHT
        )
        ends = [p.forward.second for p in (places[0], places[-1]) if p.forward]
        rates.append(math.log(ends[1] / ends[0]) / (depth - 1))
    error = math.sqrt(5 / width / (depth - 1) / len(SEEDS))
    assert abs(statistics.mean(rates) - math.log(factor) + 2.5 / width) < 6 * error


@pytest.mark.parametrize("weight", [1.3, 1.76095, 2.5], ids=["ordered", "critical", "chaotic"])
def test_the_gradient_grows_by_chi_a_layer(weight: float) -> None:
    """Schoenholz et al. 2017, arXiv 1611.01232: −log χ₁ = log of the squared norm's factor towards the inputs."""
    bias, width = 0.05, 256
    q = fixed_point(weight, bias)
    chi = weight * expectation((1 - torch.tanh(math.sqrt(q) * Z) ** 2) ** 2)
    slopes = []
    for seed in SEEDS:
        model = plain(width, 24, nn.Tanh, math.sqrt(weight), math.sqrt(bias), seed=seed)
        inputs = normal(16, width, seed=seed, scale=math.sqrt((q - bias) / weight))
        slopes.append(slope_of(measure(model, inputs), "gradient").slope)
    # A line fitted to L steps of a random walk has a slope of variance 1.2 / L times a step's, 5/n at most here.
    error = math.sqrt(5 / width * 1.2 / 24 / len(SEEDS))
    assert abs(statistics.mean(slopes) + math.log(chi) - 2.5 / width) < 6 * error
    if weight == 1.76095:
        assert math.exp(-statistics.mean(slopes)) == pytest.approx(1.0, abs=6 * error + 2.5 / width)


@pytest.mark.parametrize(("weight", "xi"), [(1.0, 3.63), (1.3, 7.83)])
def test_samples_become_one_at_the_rate_of_the_ordered_phase(weight: float, xi: float) -> None:
    """The depth scales are those of Schoenholz et al. 2017 for σ_b² = 0.05; scatter between seeds is measured."""
    bias, width = 0.05, 256
    q = fixed_point(weight, bias)
    slopes = []
    for seed in range(6):
        model = plain(width, 30, nn.Tanh, math.sqrt(weight), math.sqrt(bias), seed=seed)
        inputs = normal(16, width, seed=seed, scale=math.sqrt((q - bias) / weight))
        slopes.append(slope_of(measure(model, inputs), "correlation").slope)
    # Finite layers shift the rate by O(1/n) as well, at most 5/n.
    assert abs(statistics.mean(slopes) + 1 / xi) < 6 * standard_error(slopes) + 5 / width


def test_as_many_units_are_dead_as_the_correlation_of_samples_lets_expect() -> None:
    """P = E_t[Φ(−t √(c/(1−c)))^N] for N samples of mutual cosine c."""
    samples, width = 64, 512
    light = measure(plain(width, 20, nn.ReLU, math.sqrt(2)), normal(samples, width))
    checked = 0
    for before, after in zip(light.places, light.places[1:], strict=False):
        if after.op != "relu" or after.depth < 5 or before.forward is None or after.forward is None:
            continue
        c = before.forward.cosine or 0.0
        below = 0.5 * torch.erfc(Z * math.sqrt(c / (1 - c)) / math.sqrt(2))
        expected = expectation(below**samples)
        # Six binomial standard deviations, and 0.02 for cosines that are not all alike.
        assert abs(after.forward.dead - expected) < 6 * math.sqrt(expected * (1 - expected) / width) + 0.02
        checked += 1
    assert checked == 16


def test_the_gradient_explodes_in_a_deep_stack_of_batch_norms() -> None:
    """π / (π − 1) a layer in squared norm, 1.211 in norm: Yang et al. 2019, arXiv 1902.08129. Scatter is measured."""
    factors = []
    for seed in range(6):
        model = plain(256, 20, nn.ReLU, 1.0, batch_norm=True, seed=seed)
        light = measure(model, normal(512, 256, seed=seed), max_samples=64)
        norms = [p.backward.squared_norm for p in light.of(Kind.WEIGHT) if p.backward]
        factors.append((norms[5] / norms[15]) ** 0.1)  # behind the first layers, whose samples are still apart
    expected = math.pi / (math.pi - 1)
    assert abs(statistics.mean(factors) - expected) < 6 * standard_error(factors) + 2.5 / 256 * expected


def test_orthogonal_weights_keep_the_jacobian_near_an_isometry_and_gaussian_ones_do_not() -> None:
    """Var[s²] / E[s²]² = L for L Gaussian layers; Σ (E[φ'⁴] / E[φ'²]² − 1), the activation's own, for orthogonal ones.

    Pennington et al. 2017, arXiv 1711.04735.
    """
    depth, width, scale = 8, 64, 0.1
    spreads: dict[bool, list[float]] = {False: [], True: []}
    means = []
    for orthogonal in spreads:
        for seed in range(6):
            model = plain(width, depth, nn.Tanh, 1.0, orthogonal=orthogonal, seed=seed)
            found = measure(model, normal(2, width, seed=seed, scale=scale), jacobian=True).jacobian
            assert found is not None
            assert (found.method, len(found.values)) == ("exact", width)
            squares = torch.tensor(found.values, dtype=torch.float64) ** 2
            spreads[orthogonal].append(float(squares.var() / squares.mean() ** 2))
            if orthogonal:
                means.append(found.mean_square)
    q, mean, spread = scale**2, 1.0, 0.0
    for _ in range(depth):
        slopes = (1 - torch.tanh(math.sqrt(q) * Z) ** 2) ** 2
        mean *= expectation(slopes)
        spread += expectation(slopes**2) / expectation(slopes) ** 2 - 1
        q = expectation(torch.tanh(math.sqrt(q) * Z) ** 2)
    assert abs(statistics.mean(spreads[False]) - depth) < 6 * standard_error(spreads[False]) + depth**2 / width
    assert abs(statistics.mean(spreads[True]) - spread) < 6 * standard_error(spreads[True]) + spread / math.sqrt(width)
    assert statistics.mean(means) == pytest.approx(mean, rel=6 * depth / width / math.sqrt(len(means)))
