"""Calibration: after it, every weight's output on the batch is what it should be, and only scales have changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import firstlight as fl
from firstlight.graphs import trace
from firstlight.graphs.tape import Flow
from firstlight.graphs.walks import is_weight_call
from firstlight.moments import replay


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(24, 48), nn.Linear(48, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.silu(self.up(x)))


MODELS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "odd data": (lambda: nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 5)), randn(64, 24).exp() * 7),
    "narrow cnn": (
        lambda: nn.Sequential(*(m for _ in range(4) for m in (nn.Conv2d(3, 3, 3, padding=1), nn.GELU()))),
        randn(8, 3, 8, 8),
    ),
    "residual": (lambda: nn.Sequential(Block(), Block(), nn.Linear(24, 4)), randn(32, 24)),
    "weight norm": (
        lambda: nn.Sequential(weight_norm(nn.Linear(24, 8)), nn.Tanh(), nn.Linear(8, 3)),
        randn(32, 24) + 2,
    ),
}


@pytest.mark.parametrize("scheme", ["auto", "he_normal", "orthogonal"])
@pytest.mark.parametrize("name", MODELS)
def test_every_output_is_as_wanted(name: str, scheme: str) -> None:
    build, batch = MODELS[name]
    model = build()
    made = fl.plan(model, batch, scheme, calibrate=batch)
    fl.apply_(model, made, 0)
    graph = trace(model, batch)
    assert graph.tape is not None
    wanted = {u.node: 1 / u.branch.total for p in graph.parameters for u in p.uses if u.branch is not None}
    for node, values in replay(graph.tape, dict(model.named_parameters())):
        if node.flow is Flow.DATA and is_weight_call(graph.tape, node):
            square = float(values[0].detach().double().square().mean())
            assert square == pytest.approx(wanted.get(node.id, 1.0), rel=0.03)


def test_only_scales_change_and_the_model_is_untouched() -> None:
    build, batch = MODELS["odd data"]
    model = build()
    before = [p.clone() for p in model.parameters()]
    plain, made = fl.plan(model, batch), fl.plan(model, batch, calibrate=batch)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    for a, b in zip(plain, made, strict=True):
        assert type(a.decision) is type(b.decision)
    fl.apply_(model, plain, 0)
    first = model[0].weight.detach().clone()
    fl.apply_(model, made, 0)
    ratio = model[0].weight.detach() / first
    assert ratio.std() < 1e-3
    assert "on the batch times" in made["0.weight"].entries[0].reason
    assert "mishkin" in made.cite()


def test_it_needs_values() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(fl.ArgumentError, match="calibrate="):
        fl.plan(model, randn(2, 4), calibrate=torch.empty(2, 4, device="meta"))
