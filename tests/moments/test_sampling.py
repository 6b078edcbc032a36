"""Calls without a formula are run on draws in which what depends on each other still does."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firstlight import apply_, plan
from firstlight.graphs import trace
from firstlight.initializers import Initializer, sample
from firstlight.moments import Propagation, planned, replay


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class Scan(nn.Module):
    """h = a(x) h + b(x), step by step: products of products."""

    def __init__(self) -> None:
        super().__init__()
        self.rate, self.new = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = torch.sigmoid(self.rate(x)), self.new(x)
        h = torch.zeros_like(b[:, 0])
        steps = []
        for t in range(x.shape[1]):
            h = a[:, t] * h + b[:, t]
            steps.append(h)
        return torch.stack(steps, 1)


class Gram(nn.Module):
    """The products of a sample's tokens with each other, without their squares."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.map(x)
        i, j = torch.tril_indices(x.shape[1], x.shape[1], -1)
        return (y @ y.transpose(1, 2))[:, i, j]


class Glu(nn.Module):
    """One half of the units gates the other: they are independent."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(32, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.map(x).chunk(2, -1)
        return a * F.silu(b)


class Branching(nn.Module):
    """An activation of two branches by a condition on its own argument."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(32, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.map(x)
        return torch.where(y > 0, y.square(), 0.1 * y)


class Masked(nn.Module):
    """Attention logits that a mask over ids hides, as old GPTs write it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(32, 96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        mask = torch.ones(x.shape[1], x.shape[1]).tril()
        logits = q @ k.transpose(1, 2) / 32**0.5
        return (logits * mask + -1e4 * (1 - mask)).softmax(-1) @ v


@pytest.mark.parametrize(
    ("build", "shape"),
    [(Scan, (16, 12, 32)), (Gram, (16, 6, 32)), (Glu, (64, 32)), (Branching, (64, 32)), (Masked, (16, 12, 32))],
)
def test_what_comes_out_is_as_large_as_predicted(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    model, x = build(), randn(*shape)
    tape = trace(model, x).tape
    assert tape is not None
    made = plan(model, x)
    entries = {e.parameter.name: e for e in made}

    def draw(name: str, seed: int) -> torch.Tensor | None:
        entry = entries[name]
        known = isinstance(entry.decision, Initializer)
        return sample(entry.decision, entry.parameter.layout, seed, name) if known else None

    signals = Propagation(tape, planned(made.entries, tape), draw)
    list(signals.run())
    out = tape.outputs[0].node
    real = []
    for seed in range(8):
        apply_(model, made, seed, digests=False)
        values = {n.id: v[0] for n, v in replay(tape, dict(model.named_parameters()))}
        real.append(float(values[out].detach().double().square().mean()))
    assert signals.signals[out].second == pytest.approx(statistics.mean(real), rel=0.25)


def test_positions_are_shared_by_samples_but_not_by_positions() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(50, 16), nn.Embedding(8, 16)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))

    ids = torch.randint(0, 50, (16, 8), generator=torch.Generator().manual_seed(0))
    tape = trace(Embedded(), ids).tape
    assert tape is not None
    signals = Propagation(tape, planned(plan(Embedded(), ids).entries, tape))
    list(signals.run())
    out = signals.signals[tape.outputs[0].node]
    assert out.shared == pytest.approx(0.5, abs=0.05)
    assert out.local < 0.05
