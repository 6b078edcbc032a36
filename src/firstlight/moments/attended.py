"""Signals through attention: p = softmax(s) over the keys, y = Σ p v.

With logits of variance s² over n keys, y keeps what the values share, and Σ p² of what they do not:
Var[y] = c + (Var[v] - c) E[Σ p²], c the covariance of v between positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from .signal import Signal

_DRAWS, _SEED = 256, 0
_HIDDEN = -30.0  # an added logit below this hides a key: exp(-30) is 1e-13


@lru_cache(maxsize=512)
def concentration(variance: float, keys: int) -> float:
    """E[Σ p²] of a softmax over ``keys`` Gaussian logits of this variance: 1/keys for none, one for an infinite one."""
    if keys <= 1 or not variance < 1e4:
        return 1.0
    if variance < 1e-6:
        return 1.0 / keys
    draws = np.random.default_rng(_SEED).standard_normal((_DRAWS, min(keys, 2048))) * np.sqrt(variance)
    weights = np.exp(draws - draws.max(1, keepdims=True))
    squares = (weights**2).sum(1) / weights.sum(1) ** 2
    return float(squares.mean() * min(keys, 2048) / keys)


def mean_concentration(variance: float, allowed: Sequence[int]) -> float:
    """The same, over queries that may look at these numbers of keys."""
    counts = sorted(allowed)
    chosen = [counts[i] for i in np.unique(np.linspace(0, len(counts) - 1, 8).astype(int))]
    return float(np.mean([concentration(round(variance, 6), max(1, n)) for n in chosen]))


def logit_variance(query: Signal, key: Signal, width: int, scale: float) -> float:
    """The variance over the keys of one query's logits: what all keys share moves every logit alike."""
    return scale**2 * width * query.second * max(key.variance - key.local, 0.0)


def attended(value: Signal, concentrated: float) -> Signal:
    """The signal behind an attention with this E[Σ p²]."""
    own = max(value.variance - value.local, 0.0)
    variance = value.local + own * concentrated
    return Signal(value.mean, variance, min(value.shared, variance), value.local + own * concentrated / 2)


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
