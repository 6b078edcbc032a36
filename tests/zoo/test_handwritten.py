"""Hand-written networks: every parameter is what its author meant, by a table written from the definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.graphs import Status, trace

from . import handwritten as h
from .tables import TABLES

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch says which kernel it takes


@pytest.mark.parametrize("name", TABLES)
def test_roles_and_fans_are_what_the_author_meant(name: str) -> None:
    build, inputs, table = TABLES[name]
    graph = trace(build(), inputs)
    found = {p.name: (p.role, p.layout.fan_in, p.layout.fan_out) for p in graph.parameters}
    assert {n: found[n] for n in table} == table
    assert all(p.status is Status.TRACED for p in graph.parameters)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("scheme", ["auto", "he_normal"])
def test_every_scheme_writes_them_all(name: str, scheme: str) -> None:
    build, inputs, _ = TABLES[name]
    model = build()
    receipt = fl.init_(model, scheme, 1, inputs=inputs, frozen="init")
    assert fl.verify(model, receipt).ok
    out = model.eval()(*inputs) if isinstance(inputs, tuple) else model.eval()(inputs)
    assert all(bool(torch.isfinite(y).all()) for y in (out if isinstance(out, tuple) else (out,)))


def test_what_was_not_used_and_what_was_guessed_is_said() -> None:
    graph = trace(h.Shared(), h.randn(4, 8))
    status = {p.name: p.status for p in graph.parameters}
    assert status["never.weight"] is Status.UNUSED
    assert len(next(p for p in graph.parameters if p.name == "twice.weight").uses) == 2
    assert graph.tape is not None
    assert len(graph.tape.guesses) == 1
    assert "not used in this forward" in fl.plan(h.Shared(), h.randn(4, 8)).table()


def test_a_projected_shortcut_starts_the_stream_anew() -> None:
    class Block(nn.Module):
        def __init__(self, a: int, b: int) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(a, b, 3, padding=1), nn.Conv2d(b, b, 3, padding=1)
            self.skip = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.skip(x) + self.second(torch.relu(self.first(x))))

    graph = trace(
        nn.Sequential(nn.Conv2d(3, 4, 1), Block(4, 4), Block(4, 4), Block(4, 8), Block(8, 8)), h.randn(2, 3, 6, 6)
    )
    branches = {p.name: p.uses[0].branch for p in graph.parameters if p.name.endswith("second.weight")}
    places = {n: (b.index, b.total) for n, b in branches.items() if b is not None}
    assert places == {
        "1.second.weight": (1, 2),
        "2.second.weight": (2, 2),
        "3.second.weight": (1, 2),
        "4.second.weight": (2, 2),
    }
