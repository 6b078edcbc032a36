"""Small data for programs: pictures of digits, functions to fit, sequences with a rule."""

from __future__ import annotations

from functools import cache

import torch
from sklearn.datasets import load_digits

Pair = tuple[torch.Tensor, torch.Tensor]


@cache
def _digits() -> Pair:
    loaded = load_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    return torch.tensor(loaded.data, dtype=torch.float32)[order], torch.tensor(loaded.target)[order]


def digits() -> Pair:
    """(1797, 64) of zero mean and unit variance, ten classes."""
    x, y = _digits()
    return (x - x.mean()) / x.std(), y.clone()


def pixels() -> Pair:
    """The digits as bytes: 0 to 255."""
    x, y = _digits()
    return x * (255 / 16), y.clone()


def pictures() -> Pair:
    """(1797, 1, 8, 8), normalized."""
    x, y = digits()
    return x.view(-1, 1, 8, 8), y


def rows() -> Pair:
    """The digits as sequences of eight rows: (1797, 8, 8)."""
    x, y = digits()
    return x.view(-1, 8, 8), y


def tall() -> Pair:
    """Digits against the rest, as a float target of one column: is it below five."""
    x, y = digits()
    return x, (y < 5).float()[:, None]


def smooth(n: int = 1024, features: int = 4) -> Pair:
    """A smooth function of Gaussian features, standardized."""
    x = torch.randn(n, features, generator=torch.Generator().manual_seed(3))
    y = torch.sin(1.5 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * x[:, 3]
    return x, ((y - y.mean()) / y.std())[:, None]


def positive(n: int = 1024) -> Pair:
    """The same in [0, 1]."""
    x, y = smooth(n)
    return x, (y - y.min()) / (y.max() - y.min())


def raw_features(n: int = 1024) -> Pair:
    """Eleven columns in the units they came in, from hundredths to tens of thousands; a binary target."""
    g = torch.Generator().manual_seed(4)
    z = torch.randn(n, 11, generator=g)
    scale = torch.tensor([1.0, 0.1, 0.3, 5.0, 0.05, 15.0, 40.0, 1000.0, 0.2, 20000.0, 1.0])
    offset = torch.tensor([8.0, 0.5, 0.3, 2.5, 0.1, 30.0, 115.0, 5000.0, 3.3, 60000.0, 10.0])
    y = (z[:, 0] + z[:, 4] - z[:, 9] + 0.3 * z[:, 1] > 0).float()[:, None]
    return z * scale + offset, y


def xor() -> Pair:
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return x.repeat(64, 1), torch.tensor([0.0, 1.0, 1.0, 0.0]).repeat(64)[:, None]


def chain(n: int = 1024, length: int = 16, words: int = 24) -> Pair:
    """Sentences of a Markov chain that mostly goes one way: next-word targets, (n, length)."""
    g = torch.Generator().manual_seed(5)
    follow = torch.randperm(words, generator=g)
    ids = torch.randint(words, (n, length + 1), generator=g)
    for t in range(length):
        stays = torch.rand(n, generator=g) < 0.85
        ids[:, t + 1] = torch.where(stays, follow[ids[:, t]], ids[:, t + 1])
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def sums(n: int = 1024, length: int = 12) -> Pair:
    """Sequences of Gaussian vectors; the class is the sign of one channel's sum: (n, length, 4)."""
    x = torch.randn(n, length, 4, generator=torch.Generator().manual_seed(6))
    return x, (x[:, :, 0].sum(1) > 0).long()


def waves(n: int = 512) -> Pair:
    """Points of the interval and a wave over it: what sine networks fit."""
    x = torch.linspace(-1, 1, n)[:, None]
    return x, torch.sin(20 * x) * torch.exp(-x.square()) + 0.3 * torch.sin(7 * x)
