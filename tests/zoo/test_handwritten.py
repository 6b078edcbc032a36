"""Hand-written networks: every parameter is what its author meant, by a table written from the definition."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.graphs import Role, Status, trace

from . import handwritten as h

Fact = tuple[Role, float, float]
L, C = Role.LINEAR, Role.CONV

# network, inputs, and for each weight its role and fans
TABLES: dict[str, tuple[Callable[[], nn.Module], torch.Tensor, dict[str, Fact]]] = {
    "raw matrices": (
        h.RawMlp,
        h.randn(4, 8),
        {
            "right": (L, 8, 12),
            "left": (L, 12, 10),
            "added": (L, 10, 6),
            "summed": (L, 6, 5),
            "offset": (Role.BIAS, 1, 1),
        },
    ),
    "experts": (h.Experts, h.randn(4, 8), {"router.weight": (L, 8, 4), "up": (L, 8, 16), "down": (L, 16, 8)}),
    "hand-written GRU": (
        h.HandGru,
        h.randn(4, 5, 6),
        {"x2h.weight": (L, 6, 8), "h2h.weight": (L, 8, 8), "head.weight": (L, 8, 3)},
    ),
    "highway": (h.Highway, h.randn(4, 8), {"plain.weight": (L, 8, 8), "gate.weight": (L, 8, 8)}),
    "LoRA": (h.Lora, h.randn(4, 8), {"base.weight": (L, 8, 8), "down.weight": (L, 8, 2), "up.weight": (L, 2, 8)}),
    "WaveNet": (
        h.Gated,
        h.randn(2, 1, 12),
        {"first.weight": (C, 1, 8), "gates.weight": (C, 16, 16), "out.weight": (C, 8, 8), "head.weight": (C, 8, 4)},
    ),
    "DCGAN": (
        h.Generator,
        h.randn(4, 6),
        {"first.weight": (Role.CONV_TRANSPOSED, 96, 256), "second.weight": (Role.CONV_TRANSPOSED, 64, 48)},
    ),
    "weight standardization": (
        lambda: nn.Sequential(h.Standardized(3, 8, 3), nn.ReLU()),
        h.randn(2, 3, 8, 8),
        {"0.weight": (C, 27, 72)},
    ),
    "squeeze and excitation": (
        h.Squeezed,
        h.randn(2, 3, 8, 8),
        {
            "stem.weight": (C, 27, 18),
            "depth.weight": (C, 9, 9),
            "squeeze.weight": (L, 8, 2),
            "excite.weight": (L, 2, 8),
            "point.weight": (C, 8, 8),
        },
    ),
    "Perceiver": (
        h.Perceiver,
        h.randn(2, 7, 6),
        {
            "latents": (Role.TOKEN, 1, 1),
            "kv.weight": (Role.ATTENTION, 6, 8),
            "out.weight": (Role.OUT, 8, 8),
            "norm": (Role.NORM_SCALE, 1, 1),
            "shift": (Role.NORM_SHIFT, 1, 1),
        },
    ),
    "ViT": (
        h.Classified,
        h.randn(2, 4, 12),
        {
            "patch.weight": (L, 12, 8),
            "token": (Role.TOKEN, 1, 1),
            "positions": (Role.POSITIONAL, 1, 1),
            "scale": (Role.NORM_SCALE, 1, 1),
            "qkv.weight": (Role.ATTENTION, 8, 8),
            "out.weight": (Role.OUT, 8, 8),
            "gamma": (Role.LAYER_SCALE, 1, 1),
            "temperature": (Role.SCALE, 1, 1),
            "head.weight": (L, 8, 3),
        },
    ),
    "MLP-Mixer": (h.Mixer, h.randn(2, 5, 8), {"tokens.weight": (L, 5, 5), "channels.weight": (L, 8, 8)}),
    "recurrent": (
        h.Recurrent,
        torch.randint(0, 20, (3, 5)),
        {
            "table.weight": (Role.EMBEDDING, 1, 6),
            "lstm.weight_ih_l0": (Role.RECURRENT_INPUT, 6, 8),
            "lstm.weight_hh_l0": (Role.RECURRENT_HIDDEN, 8, 8),
            "lstm.bias_ih_l0": (Role.GATE_BIAS, 1, 1),
            "cell.weight_ih": (Role.RECURRENT_INPUT, 8, 4),
            "cell.weight_hh": (Role.RECURRENT_HIDDEN, 4, 4),
        },
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_roles_and_fans_are_what_the_author_meant(name: str) -> None:
    build, inputs, table = TABLES[name]
    graph = trace(build(), inputs)
    found = {p.name: (p.role, p.layout.fan_in, p.layout.fan_out) for p in graph.parameters}
    assert {n: found[n] for n in table} == table
    assert all(p.role is Role.BIAS for p in graph.parameters if p.local_name == "bias" and "norm" not in p.name)
    assert all(p.status is Status.TRACED for p in graph.parameters)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("scheme", ["auto", "he_normal"])
def test_every_scheme_writes_them_all(name: str, scheme: str) -> None:
    build, inputs, _ = TABLES[name]
    model = build()
    receipt = fl.init_(model, scheme, 1, inputs=inputs, frozen="init")
    assert fl.verify(model, receipt).ok
    assert bool(torch.isfinite(model.eval()(inputs)).all())


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
