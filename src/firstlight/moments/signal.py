"""The signal at one place of a network, as four numbers, and how they add, multiply and mix.

Over the ensemble of random weights the units of a layer are alike, so one unit speaks for all. ``propagate`` carries
these along a tape; ``schemes.auto`` chooses weights by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

Function = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Signal:
    """The statistics of a value x of one unit, over units, samples and positions.

    Args:
        mean: E[x].
        variance: Var[x].
        shared: the covariance of x between two samples: what all samples have in common.
        local: the covariance of x between two positions (tokens, pixels) of one sample.
        root, function: where x = f(z) of an earlier Gaussian value z, that value's node and f, so that functions of one
            value stay together (x · σ(x)).
        logits: for products of queries and keys, the variance over the keys of one query.
        allowed: how many keys each query may look at, where a mask is known.
        weights: for attention weights p, E[Σ p²] over the keys.
        profile: for pictures, how E[x²] varies along each spatial axis, relative to its mean: padding darkens edges.
        known: whether the numbers follow from theory; false behind a call that had to be sampled.
    """

    mean: float = 0.0
    variance: float = 0.0
    shared: float = 0.0
    local: float = 0.0
    root: int | None = None
    function: Function | None = None
    logits: float | None = None
    allowed: tuple[int, ...] | None = None
    weights: float | None = None
    profile: tuple[tuple[float, ...], ...] | None = None
    known: bool = True

    @property
    def second(self) -> float:
        """E[x²]."""
        return self.variance + self.mean**2

    @property
    def across(self) -> float:
        """The covariance of two samples at two positions: what both shares leave of the variance."""
        return self.shared * self.local / self.variance if self.variance > 0 else 0.0

    def plain(self) -> Signal:
        """Without what it was made from."""
        return Signal(self.mean, self.variance, self.shared, self.local, known=self.known)

    def scaled(self, factor: float) -> Signal:
        """The signal of factor · x."""
        f2 = factor**2
        return Signal(
            factor * self.mean,
            f2 * self.variance,
            f2 * self.shared,
            f2 * self.local,
            logits=None if self.logits is None else f2 * self.logits,
            allowed=self.allowed,
            weights=self.weights,
            known=self.known,
        )

    def plus(self, other: Signal, sign: float = 1.0) -> Signal:
        """The signal of x ± y, for independent x and y."""
        return Signal(
            self.mean + sign * other.mean,
            self.variance + other.variance,
            self.shared + other.shared,
            self.local + other.local,
            logits=None if self.logits is None else self.logits + other.variance - other.local,
            allowed=self.allowed,
            known=self.known and other.known,
        )

    def times(self, other: Signal) -> Signal:
        """The signal of x · y, for independent x and y."""
        square = (self.mean * other.mean) ** 2
        a, b = self.mean**2, other.mean**2
        return Signal(
            self.mean * other.mean,
            self.second * other.second - square,
            (self.shared + a) * (other.shared + b) - square,
            (self.local + a) * (other.local + b) - square,
            known=self.known and other.known,
        )

    def rooted(self, root: int, function: Function | None) -> Signal:
        """The same numbers, as a function of an earlier value."""
        return replace(self, root=root, function=function)


def mixed(parts: Sequence[Signal], sizes: Sequence[float]) -> Signal:
    """The signal of values that stand side by side, in these shares."""
    whole = sum(sizes)
    mean = sum(p.mean * n for p, n in zip(parts, sizes, strict=True)) / whole

    def over(values: Sequence[float]) -> float:
        with_means = (v + p.mean**2 for v, p in zip(values, parts, strict=True))
        return max(0.0, sum(v * n for v, n in zip(with_means, sizes, strict=True)) / whole - mean**2)

    return Signal(
        mean,
        over([p.variance for p in parts]),
        over([p.shared for p in parts]),
        over([p.local for p in parts]),
        known=all(p.known for p in parts),
    )


def measured(value: torch.Tensor) -> Signal:
    """The signal of a real value, its first axis the samples; the last are positions behind units (N, C, H, W)."""
    x = value.detach().to(torch.float64)
    if x.numel() < 2:
        return Signal(float(x.sum()) if x.numel() else 0.0)
    mean = float(x.mean())
    centred = x - mean
    variance = float(centred.square().mean())
    return Signal(mean, variance, _common(centred, 0, variance), _between_positions(centred, variance))


def _between_positions(x: torch.Tensor, variance: float) -> float:
    if x.dim() < 3:
        return 0.0
    over_positions = x.flatten(2) if x.dim() >= 4 else x.transpose(1, 2)
    return _common(over_positions, 2, variance)


def _common(centred: torch.Tensor, axis: int, variance: float) -> float:
    """The covariance between two places along an axis, unbiased: (n Var[mean] - Var) / (n - 1)."""
    n = centred.shape[axis]
    if n < 2:
        return 0.0
    of_means = float(centred.mean(axis).square().mean())
    return max(0.0, (n * of_means - variance) / (n - 1))
