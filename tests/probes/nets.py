"""Small networks with known statistics, for the tests of probes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn


def plain(
    width: int,
    depth: int,
    activation: Callable[[], nn.Module],
    weight_std: float,
    bias_std: float = 0.0,
    *,
    orthogonal: bool = False,
    batch_norm: bool = False,
    seed: int = 0,
) -> nn.Sequential:
    """Layers of one width; ``weight_std`` is σ_w: weights are N(0, σ_w² / width), or σ_w times an orthogonal matrix."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layer = nn.Linear(width, width, bias=bias_std > 0)
        with torch.no_grad():
            if orthogonal:
                q, r = torch.linalg.qr(torch.randn(width, width, generator=generator))
                layer.weight.copy_(weight_std * q * r.diagonal().sign())
            else:
                layer.weight.normal_(0, weight_std / math.sqrt(width), generator=generator)
            if bias_std:
                layer.bias.normal_(0, bias_std, generator=generator)
        layers += [layer, *([nn.BatchNorm1d(width)] if batch_norm else []), activation()]
    return nn.Sequential(*layers)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    """Normal values of this standard deviation."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1000 + seed)) * scale


def small(seed: int = 0) -> nn.Sequential:
    """A network with a norm, dropout and an activation in place, 16 inputs and 4 outputs."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(16, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(32, 32),
        nn.Tanh(),
        nn.Linear(32, 4),
    )
