"""Hand-written networks: every parameter is what its author meant, by a table written from the definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.graphs import Status, trace
from firstlight.graphs.ops import RECURRENT
from firstlight.graphs.tape import Flow
from firstlight.moments import replay
from firstlight.schemes.weights import WEIGHTS

from . import handwritten as h
from .tables import TABLES

SEEDS = 8
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


@pytest.mark.parametrize("name", TABLES)
def test_auto_keeps_the_signal_at_every_weight(name: str) -> None:
    """E[y²] within a factor 2 of its target wherever a weight is used once, by a mean over seeds."""
    build, inputs, _ = TABLES[name]
    model = build()
    made = fl.plan(model, inputs, frozen="init")
    tape = trace(model, inputs).tape
    assert tape is not None
    wanted: dict[int, float] = {}
    for entry in made:
        uses = entry.parameter.uses
        mapped = len(uses) == 1 and uses[0].role in WEIGHTS and uses[0].op not in RECURRENT
        if mapped and "divided out" not in entry.reason and "sin" not in entry.reason:
            branch = uses[0].branch if not uses[0].normalized else None
            wanted[uses[0].node] = 1 / branch.total if branch is not None else 1.0
    found = dict.fromkeys(wanted, 0.0)
    for seed in range(SEEDS):
        fl.apply_(model, made, seed, digests=False)
        for node, values in replay(tape, dict(model.named_parameters(remove_duplicate=False))):
            if node.id in found and node.flow is Flow.DATA:
                found[node.id] += float(values[0].detach().double().square().mean()) / wanted[node.id] / SEEDS
    assert all(0.5 < ratio < 2 for n, ratio in found.items() if tape[n].flow is Flow.DATA)


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
