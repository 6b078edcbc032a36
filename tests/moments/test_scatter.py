"""From seed to seed a narrow network wanders as far as finite width says, and a norm ends it."""

from __future__ import annotations

import statistics

import pytest
import torch
from torch import nn

from firstlight import apply_, plan
from firstlight.graphs import trace
from firstlight.graphs.tape import Flow
from firstlight.graphs.walks import is_weight_call
from firstlight.moments import Propagation, planned, replay
from firstlight.moments.scatter import scatter


def network(width: int, *, norm: bool = False) -> nn.Module:
    layers = [m for _ in range(8) for m in (nn.Linear(width, width), nn.ReLU(), *([nn.LayerNorm(width)] * norm))]
    return nn.Sequential(*layers, nn.Linear(width, 32))


def spreads(model: nn.Module, x: torch.Tensor, seeds: int) -> tuple[float, float]:
    """The relative variance of the last layer's second moment: predicted, and over seeds."""
    tape = trace(model, x).tape
    assert tape is not None
    made = plan(model, x, "he_normal")
    signals = Propagation(tape, planned(made.entries, tape))
    list(signals.run())
    last = [n.id for n in tape if n.flow is Flow.DATA and is_weight_call(tape, n)][-1]
    real = []
    for seed in range(seeds):
        apply_(model, made, seed, digests=False)
        values = {n.id: v[0] for n, v in replay(tape, dict(model.named_parameters()))}
        real.append(float(values[last].detach().double().square().mean()))
    return scatter(signals)[last], statistics.variance(real) / statistics.mean(real) ** 2


def test_a_deep_narrow_network_wanders_as_predicted() -> None:
    predicted, real = spreads(network(32), torch.randn(32, 32, generator=torch.Generator().manual_seed(0)), 60)
    assert 0.5 < real / predicted < 2


def test_it_falls_with_width_and_ends_at_a_norm() -> None:
    x = [torch.randn(32, n, generator=torch.Generator().manual_seed(0)) for n in (32, 128)]
    narrow, wide = (spreads(network(n), v, 2)[0] for n, v in zip((32, 128), x, strict=True))
    assert narrow / wide == pytest.approx(4, rel=0.3)
    assert spreads(network(32, norm=True), x[0], 2)[0] < narrow / 2
