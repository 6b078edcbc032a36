"""Recurrent layers: the state's second moment is what real layers give, a mean over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
import torch
from torch import nn

from firstlight import apply_, plan
from firstlight.graphs import trace
from firstlight.moments import Propagation, planned
from firstlight.moments.recurrent import groups, inputs, layer_of


def sequences(*, alike: bool) -> torch.Tensor:
    """White sequences, or ones that share half of their variance over time."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 16, 16, generator=generator)
    return (x + torch.randn(16, 1, 16, generator=generator)) / 2**0.5 if alike else x


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: nn.LSTM(16, 48, 2, batch_first=True),
    "GRU": lambda: nn.GRU(16, 48, 2, batch_first=True),
    "RNN": lambda: nn.RNN(16, 48, 2, batch_first=True),
    "bidirectional": lambda: nn.GRU(16, 48, 2, batch_first=True, bidirectional=True),
}


@pytest.mark.parametrize("scheme", ["auto", "glorot_uniform"])
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_the_state_is_as_large_as_predicted(name: str, alike: bool, scheme: str) -> None:
    model, x = LAYERS[name](), sequences(alike=alike)
    tape = trace(model, x).tape
    assert tape is not None
    made = plan(model, x, scheme)
    signals = Propagation(tape, planned(made.entries, tape))
    list(signals.run())
    assert not signals.fallbacks
    real = []
    for seed in range(4):
        apply_(model, made, seed, digests=False)
        real.append(float(model(x)[0].detach().double().square().mean()))
    predicted = signals.signals[tape.outputs[0].node].second
    assert predicted == pytest.approx(statistics.mean(real), rel=0.3)


def test_each_layer_reads_the_state_below_it() -> None:
    model, x = LAYERS["bidirectional"](), sequences(alike=False)
    tape = trace(model, x).tape
    assert tape is not None
    made = plan(model, x)
    signals = Propagation(tape, planned(made.entries, tape))
    list(signals.run())
    node = next(n for n in tape if n.op == "gru")
    read = list(inputs(node, signals.of))
    assert len(read) == 3
    assert read[0].second == pytest.approx(1.0, rel=0.1)
    assert read[1].second < 0.5
    found, directions = groups(node)
    assert (len(found), directions) == (4, 2)
    places = {n.name: n.id for n in tape}
    assert layer_of(node, places["weight_ih_l1_reverse"]) == 1
    assert layer_of(node, places["weight_hh_l0"]) == 0
