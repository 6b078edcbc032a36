"""The ``torch`` scheme gives what the modules' own ``reset_parameters`` give, by bounds and moments."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from firstlight import init_

MODULES = {
    "linear": lambda: nn.Linear(300, 400),
    "conv": lambda: nn.Conv2d(32, 64, 3, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(32, 64, 4, stride=2),
    "bilinear": lambda: nn.Bilinear(20, 30, 40),
    "embedding": lambda: nn.Embedding(500, 100, padding_idx=0),
    "attention": lambda: nn.MultiheadAttention(128, 4, add_bias_kv=True),
    "cross": lambda: nn.MultiheadAttention(128, 4, kdim=64, vdim=32),
    "lstm": lambda: nn.LSTM(50, 100, num_layers=2, bidirectional=True),
    "projected": lambda: nn.LSTM(50, 100, proj_size=40),
    "gru_cell": lambda: nn.GRUCell(50, 100),
    "batch": lambda: nn.BatchNorm1d(50),
    "prelu": lambda: nn.PReLU(20),
}


@pytest.mark.parametrize("kind", MODULES)
def test_same_distribution_as_the_module_itself(kind: str) -> None:
    """Means and second moments over many draws agree within 6 standard errors (false alarms < 1e-6 in all)."""
    ours, theirs = MODULES[kind](), MODULES[kind]()
    with torch.no_grad():
        for p in ours.parameters():
            p.fill_(77)
    init_(ours, "torch", seed=5)
    torch.manual_seed(5)
    (getattr(theirs, "reset_parameters", None) or theirs._reset_parameters)()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        a, b = a.detach().double(), b.detach().double()
        if b.std(correction=0) == 0:
            assert torch.equal(a, b), name
            continue
        for power in (1, 2):
            x, y = a**power, b**power
            error = math.sqrt((x.var() + y.var()).item() / a.numel())
            assert abs((x.mean() - y.mean()).item()) < 6 * error, (name, power)
        assert a.abs().max() <= b.abs().max() * 1.35 + 1e-9, name


def test_a_module_that_resets_itself_is_reset_by_its_own_method() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.zeros(4))
            self.reset_parameters()

        def reset_parameters(self) -> None:
            nn.init.normal_(self.a, mean=100.0)

    first, second = nn.Sequential(Own(), Own()), nn.Sequential(nn.Identity(), Own())
    state = torch.get_rng_state()
    init_(first, "torch", seed=1)
    init_(second, "torch", seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert (first[0].a > 90).all()
    assert not torch.equal(first[0].a, first[1].a)
    assert torch.equal(first[1].a, second[1].a)
