"""Signals through attention: p = softmax(s) over the keys, y = Σ p v.

With logits of variance s² over n keys, y keeps what the values share, and Σ p² of what they do not:
Var[y] = c + (Var[v] - c) E[Σ p²], c the covariance of v between positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ..graphs.tape import Ref
from .signal import Signal

_DRAWS, _SEED = 256, 0
_COUNTS = 16  # numbers of keys for which a softmax is drawn
_HIDDEN = -30.0  # an added logit below this hides a key: exp(-30) is 1e-13


@dataclass(frozen=True, slots=True)
class Focus:
    """How attention weights p over the keys are spread, a mean over queries.

    Args:
        squares: E[Σ p²].
        slope: E[Σ p² - 2 Σ p³ + (Σ p²)²]: what a softmax lets through of unit gradients, added up.
        entropy: E[H / log n] over the queries that may look at more than one key.
    """

    squares: float
    slope: float
    entropy: float


@dataclass(frozen=True, slots=True)
class Attention:
    """A fused attention: what it reads, the factor of its logits, its focus, and how many keys each query sees."""

    query: Ref
    key: Ref
    value: Ref
    scale: float
    focus: Focus
    allowed: tuple[int, ...]


@lru_cache(maxsize=2048)
def focus(variance: float, keys: int) -> Focus:
    """The focus of a softmax over ``keys`` Gaussian logits of this variance: 1/keys for none, one for an infinite one.

    >>> focus(0.0, 4)
    Focus(squares=0.25, slope=0.1875, entropy=1.0)
    """
    if keys <= 1 or not variance < 1e4:
        return Focus(1.0, 0.0, 1.0 if keys <= 1 else 0.0)
    if variance < 1e-6:
        return Focus(1.0 / keys, (1 - 1.0 / keys) / keys, 1.0)
    n = min(keys, 2048)
    draws = np.random.default_rng(_SEED).standard_normal((_DRAWS, n)) * np.sqrt(variance)
    weights = np.exp(draws - draws.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    squares, cubes = (weights**2).sum(1), (weights**3).sum(1)
    slope = float((squares - 2 * cubes + squares**2).mean())
    logs = np.log(np.maximum(weights, 1e-300))
    entropy = float(-(weights * logs).sum(1).mean() / math.log(n))
    return Focus(float(squares.mean() * n / keys), slope * n / keys, entropy)


def mean_focus(variance: float, allowed: Sequence[int]) -> Focus:
    """The same, a mean over queries that may look at these numbers of keys; between some of them by interpolation."""
    counts = np.maximum(np.asarray(sorted(allowed), dtype=np.float64), 1.0)
    places = np.unique(np.geomspace(counts[0], counts[-1], _COUNTS).round())
    known = [focus(round(variance, 6), int(n)) for n in places]

    def over(values: list[float], chosen: np.ndarray = counts) -> float:
        return float(np.interp(np.log(chosen), np.log(places), values).mean())

    shares = np.asarray([f.squares for f in known])
    squares = np.exp(np.interp(np.log(counts), np.log(places), np.log(shares)))
    return Focus(
        float(squares.mean()),
        over([f.slope for f in known]),
        over([f.entropy for f in known], several if len(several := counts[counts > 1]) else counts),
    )


def logit_variance(query: Signal, key: Signal, width: int, scale: float) -> float:
    """The variance over the keys of one query's logits: what all keys share moves every logit alike."""
    return scale**2 * width * query.second * max(key.variance - key.local, 0.0)


def attended(value: Signal, squares: float, allowed: Sequence[int]) -> Signal:
    """The signal behind an attention with this E[Σ p²], whose queries may look at these numbers of keys.

    Two queries have in common what all values share, and of the rest what both look at: Σ_k p_qk p_q'k; two samples
    likewise.
    """
    own = max(value.variance - value.local, 0.0)
    variance, both = value.local + own * squares, min(overlap(allowed), squares)
    shared = value.across + max(0.0, value.shared - value.across) * both
    return Signal(value.mean, variance, min(shared, variance), value.local + own * both)


def overlap(allowed: Sequence[int]) -> float:
    """E[Σ_k p_qk p_q'k] of two queries with independent logits: one over the larger number of keys that either sees."""
    counts = sorted(allowed)
    if len(counts) < 2:
        return 1 / max(counts[0], 1)
    pairs = len(counts) * (len(counts) - 1) / 2
    return sum(i / max(n, 1) for i, n in enumerate(counts)) / pairs


def causal(queries: int, keys: int) -> tuple[int, ...]:
    """How many keys each query sees, where none sees what comes after it."""
    return tuple(max(1, keys - queries + i + 1) for i in range(queries))


def masked(mask: torch.Tensor | None, keys: int) -> tuple[int, ...] | None:
    """How many keys each query sees by a mask: true, or a number that is not hugely negative, lets it look."""
    if mask is None or mask.dim() < 2 or mask.shape[-1] != keys:
        return None
    open_ = mask if mask.dtype == torch.bool else mask > _HIDDEN
    counts = open_.reshape(-1, keys).sum(-1)
    return tuple(int(c) for c in counts[:4096] if c > 0) or None
