"""What is predicted along a tape is what real weights give: the mean over seeds, at every weight."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firstlight import apply_, plan
from firstlight.graphs import trace
from firstlight.graphs.tape import Flow
from firstlight.graphs.walks import is_weight_call
from firstlight.moments import Propagation, planned, replay

SEEDS = 12


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def errors(model: nn.Module, inputs: torch.Tensor, scheme: str) -> list[float]:
    """|realised / predicted - 1| of the root mean square at every weight call, sorted."""
    graph = trace(model, inputs)
    assert graph.tape is not None
    made = plan(model, inputs, scheme)
    real: dict[int, list[float]] = {}
    for seed in range(SEEDS):
        apply_(model, made, seed, digests=False)
        for node, values in replay(graph.tape, dict(model.named_parameters())):
            if node.flow is Flow.DATA and is_weight_call(graph.tape, node):
                real.setdefault(node.id, []).append(float(values[0].detach().double().square().mean()))
    prediction = Propagation(graph.tape, planned(made.entries, graph.tape))
    for _ in prediction.run():
        pass
    assert not prediction.fallbacks
    return sorted(
        abs((statistics.mean(squares) / prediction.signals[node].second) ** 0.5 - 1) for node, squares in real.items()
    )


def stack(activation: Callable[[], nn.Module], depth: int = 8, width: int = 128) -> nn.Module:
    layers = [m for _ in range(depth) for m in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, 64))


def convolutional(*, norm: bool = False) -> nn.Module:
    layers: list[nn.Module] = []
    for i in range(5):
        layers += [nn.Conv2d(3 if i == 0 else 32, 32, 3, padding=1, stride=1 + (i == 2))]
        layers += [nn.BatchNorm2d(32)] * norm + [nn.GELU()]
    return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32 * 9, 64))


class Sine(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(30 * x)


class HandGelu(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 4, stride=2, padding=1)
        self.up, self.last = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), nn.Conv2d(64, 32, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = F.relu(self.first(x))
        return self.last(F.relu(torch.cat([skip, self.up(F.relu(self.down(skip)))], 1)))


class Block(nn.Module):
    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = (p.view(b, t, 4, -1).transpose(1, 2) for p in self.qkv(self.norm1(x)).chunk(3, -1))
        p = (q @ k.transpose(-2, -1) / (d // 4) ** 0.5).softmax(-1)
        x = x + self.out((p @ v).transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.silu(self.up(self.norm2(x))))


CASES: dict[str, tuple[Callable[[], nn.Module], torch.Tensor, float, float]] = {
    "tanh": (lambda: stack(nn.Tanh), randn(64, 128), 0.05, 0.1),
    "relu": (lambda: stack(nn.ReLU), randn(64, 128), 0.05, 0.1),
    "hand-written gelu": (lambda: stack(HandGelu), randn(64, 128), 0.05, 0.1),
    "sine": (lambda: stack(Sine, 4), randn(64, 128), 0.05, 0.1),
    "cnn": (convolutional, randn(8, 3, 12, 12), 0.05, 0.1),
    "cnn with batch norm": (lambda: convolutional(norm=True), randn(8, 3, 12, 12), 0.05, 0.1),
    "u-net": (Unet, randn(8, 3, 12, 12), 0.05, 0.1),
    "transformer": (lambda: nn.Sequential(Block(), Block()), randn(8, 12, 96), 0.05, 0.1),
}


@pytest.mark.parametrize("scheme", ["auto", "he_normal", "glorot_uniform"])
@pytest.mark.parametrize("name", CASES)
def test_predicted_is_realised(name: str, scheme: str) -> None:
    build, inputs, median, tail = CASES[name]
    found = errors(build(), inputs, scheme)
    deep = scheme != "auto" and name in ("relu", "hand-written gelu")
    # Independent draws let a deep narrow network's norm wander by √(depth / width) from seed to seed.
    slack = 2.5 if deep else 1.0
    assert found[len(found) // 2] <= median * slack
    assert found[int(0.9 * (len(found) - 1))] <= tail * slack


def test_replay_gives_what_the_model_gives() -> None:
    model = nn.Sequential(Block(), nn.ReLU(inplace=True), nn.Flatten(), nn.Dropout(), nn.Linear(96 * 12, 3)).eval()
    inputs = randn(4, 12, 96)
    tape = trace(model, inputs).tape
    assert tape is not None
    outputs = {node.id: values for node, values in replay(tape, dict(model.named_parameters()))}
    assert torch.allclose(outputs[tape.outputs[0].node][0], model(inputs), atol=1e-5)


def test_an_unknown_call_is_sampled_and_said() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(x).abs()

    model = nn.Sequential(nn.Linear(64, 64), Odd(), nn.Linear(64, 64))
    tape = trace(model, randn(16, 64)).tape
    assert tape is not None
    propagation = Propagation(tape, {})
    list(propagation.run())
    assert any(text.startswith("fft") for text in propagation.fallbacks.values())
