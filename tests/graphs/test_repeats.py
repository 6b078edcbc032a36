"""Repeated calls: what is remembered of a call is what calling it again would have given."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firstlight.graphs import repeats
from firstlight.graphs.recorder import record
from firstlight.graphs.tape import Tape


class Layers(nn.Module):
    """Layers that repeat one another, and calls that look alike and are not."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.norm = nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + self.norm(F.gelu(layer(x)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.layers[0](x)
        softer = torch.softmax(x, 1) + torch.softmax(x, -1) + torch.softmax(x, -1, dtype=torch.float64)
        turned = (x.transpose(0, 1) * 2).transpose(0, 1) * 2
        relu = F.relu(turned)
        again = F.relu(turned, inplace=True)
        return torch.cat([y.float(), softer.float(), relu, again, x * 2, x * 2.0, F.elu(x, 1.0), F.elu(x, 2.0)], -1)


def forms(tape: Tape) -> list[object]:
    return [(n.op, n.shapes, n.dtypes, n.inputs, n.flow, n.guess) for n in tape]


def test_a_tape_is_the_same_without_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Layers(), torch.randn(4, 6, 8)
    with_it = record(model, (x,))
    monkeypatch.setattr(repeats, "_PURE", frozenset())
    assert forms(with_it) == forms(record(model, (x,)))


def test_repeated_layers_are_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    get = repeats.Repeats.get

    def counted(self: repeats.Repeats, key: object) -> torch.Tensor | None:
        found = get(self, key)  # type: ignore[arg-type]
        made.append(found)
        return found

    monkeypatch.setattr(repeats.Repeats, "get", counted)
    record(nn.Sequential(*(m for _ in range(5) for m in (nn.Linear(8, 8), nn.ReLU()))), (torch.randn(2, 8),))
    assert [m is None for m in made] == [True] * 2 + [False] * 8


class Asks(nn.Module):
    """Divides its length as a tensor, and asks for the number: torch remembers it beside the fake."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            x = x[: int(torch.div(torch.tensor(x.shape[0]), 2, rounding_mode="trunc"))]
        return x


def test_numbers_that_torch_remembers_stay_known() -> None:
    assert record(Asks(), (torch.randn(8, 3),)).outputs[0].shape == (2, 3)


class Differentiates(nn.Module):
    """Takes a gradient within its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = self.layer(torch.tanh(self.layer(torch.tanh(self.layer(x))))).sum()
            return torch.autograd.grad(energy, x)[0]


def test_a_graph_is_never_cut() -> None:
    assert record(Differentiates(), (torch.randn(2, 3),)).outputs[0].shape == (2, 3)
