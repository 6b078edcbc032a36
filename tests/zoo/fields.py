"""Networks of coordinates, graphs, weights that networks make, and loops, written as people write them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from .handwritten import parameter


class Siren(nn.Module):
    """Sines of 30 times a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 64)
        self.last = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.first, self.second, self.third):
            x = torch.sin(30 * layer(x))
        return self.last(x)


class FourierFeatures(nn.Module):
    """Sines and cosines of fixed random frequencies, then an MLP."""

    frequencies: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, 16, generator=torch.Generator().manual_seed(0)) * 4)
        self.first, self.last = nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angles = 2 * math.pi * x @ self.frequencies
        return self.last(F.relu(self.first(torch.cat([angles.sin(), angles.cos()], -1))))


class Nerf(nn.Module):
    """Sines of doubled frequencies; the input again half way; density and colour."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(27, 32), nn.Linear(32, 32), nn.Linear(59, 32)
        self.density, self.colour = nn.Linear(32, 1), nn.Linear(32 + 3, 3)

    def forward(self, x: torch.Tensor, view: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        encoded = torch.cat([x, *(f(2.0**i * x) for i in range(4) for f in (torch.sin, torch.cos))], -1)
        h = F.relu(self.second(F.relu(self.first(encoded))))
        h = F.relu(self.third(torch.cat([h, encoded], -1)))
        return F.softplus(self.density(h)), torch.sigmoid(self.colour(torch.cat([h, view], -1)))


class GraphNet(nn.Module):
    """GCN: a normalized adjacency times features times a weight, twice."""

    adjacency: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        ring = torch.eye(12) + torch.eye(12).roll(1, 0) + torch.eye(12).roll(-1, 0)
        self.register_buffer("adjacency", ring / 3)
        self.first, self.offset, self.second = parameter(8, 16), parameter(16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.adjacency @ (x @ self.first) + self.offset)
        return self.adjacency @ self.second(x)


class GraphAttention(nn.Module):
    """GAT: a score for each edge from two vectors."""

    adjacency: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("adjacency", torch.eye(40) + torch.eye(40).roll(1, 0))
        self.map, self.source, self.target, self.head = (
            nn.Linear(6, 8, bias=False),
            parameter(8),
            parameter(8),
            nn.Linear(8, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.map(x)
        scores = F.leaky_relu((h @ self.source)[:, None] + (h @ self.target)[None, :], 0.2)
        return self.head(F.elu(scores.masked_fill(self.adjacency == 0, -1e9).softmax(-1) @ h))


class Hypernetwork(nn.Module):
    """A small network makes the weight of another's layer."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.hidden, self.made, self.head = (
            parameter(4),
            nn.Linear(4, 16),
            nn.Linear(16, 8 * 8),
            nn.Linear(8, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.made(torch.tanh(self.hidden(self.code))).view(8, 8)
        return self.head(F.relu(F.linear(x, weight)))


class Functional(nn.Module):
    """A module called with its weights scaled, through functional_call."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled = {name: 0.5 * p for name, p in self.inner.named_parameters()}
        return self.head(torch.tanh(functional_call(self.inner, scaled, (x,))))


class Equilibrium(nn.Module):
    """z = tanh(W z + U x), applied ten times; the loop ends where it stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.inject, self.head = nn.Linear(8, 8, bias=False), nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.zeros(x.shape[0], 8)
        for _ in range(10):
            new = torch.tanh(self.inner(z) + self.inject(x))
            if float((new - z).detach().norm()) < 1e-4:
                break
            z = new
        return self.head(z)


class Flow(nn.Module):
    """A coupling: half of the values scale and shift the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        scale, shift = self.second(F.relu(self.first(a))).chunk(2, -1)
        return torch.cat([a, b * torch.exp(torch.tanh(scale)) + shift], -1)


class Ode(nn.Module):
    """Euler steps of a field that knows the time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(9, 16), nn.Linear(16, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for t in range(5):
            time = torch.full((x.shape[0], 1), t / 5)
            x = x + 0.2 * self.second(torch.tanh(self.first(torch.cat([x, time], 1))))
        return self.head(x)


class Symmetric(nn.Module):
    """A parametrization: the weight is what it is and its transpose."""

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        return w.triu() + w.triu(1).transpose(-1, -2)


def parametrized() -> nn.Module:
    """A symmetric layer, and one that torch keeps orthogonal."""
    symmetric = nn.Linear(8, 8)
    parametrize.register_parametrization(symmetric, "weight", Symmetric())
    return nn.Sequential(symmetric, nn.Tanh(), nn.utils.parametrizations.orthogonal(nn.Linear(8, 8)), nn.Linear(8, 2))


class Twin(nn.Module):
    """Two towers under one weight, compared by their cosine at a learned temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.project = nn.Linear(6, 8), nn.Linear(5, 8), nn.Linear(8, 4, bias=False)
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a, b = (F.normalize(self.project(F.relu(x)), dim=-1) for x in (self.left(a), self.right(b)))
        return self.temperature.exp() * a @ b.t()
