"""Sums over tensors, of several at once: what ``statistics`` and ``weighing`` share.

A tensor (tensors, …) holds them along its first axis; each function gives one number for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def as_it_lies(x: torch.Tensor) -> torch.Tensor:
    """The same tensors, (tensors, …), with the other axes in the order in which memory holds them: no copy is made."""
    return x.permute(0, *sorted(range(1, x.dim()), key=lambda axis: -x.stride()[axis]))


def finite(x: torch.Tensor) -> tuple[torch.Tensor, list[float], list[int]]:
    """Values with zeros for what is not finite, the mean of each, and how many are not: one sum where all are."""
    flat = x.reshape(len(x), -1)
    means = (flat.sum(1) / flat.shape[1]).tolist()
    if all(map(math.isfinite, means)):
        return x, means, [0] * len(x)
    lost = (flat.shape[1] - torch.isfinite(flat).sum(1)).tolist()
    x = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    return x, (x.reshape(flat.shape).sum(1) / flat.shape[1]).tolist(), lost


def shares_of_zeros(x: torch.Tensor, spare: bool = False) -> list[float]:
    """The share of exact zeros of each: Σ sign² counts the others, several times as fast as counting them.

    It is exact as long as float32 holds the number. What is ``spare`` is written over.
    """
    n = x[0].numel()
    if n > 1 << 24:
        return [1.0 - int(torch.count_nonzero(v)) / n for v in x]
    return [1.0 - count / n for count in squares(x.sign_() if spare else x.sign())]


def squares(x: torch.Tensor) -> list[float]:
    """Σ x² of each, as dot products, which are several times as fast as norms."""
    found: list[float] = torch.stack([torch.dot(v, v) for v in x.reshape(len(x), -1)]).tolist()
    return found


def second_moments(x: torch.Tensor, sizes: Sequence[float]) -> list[float]:
    """E[x²] of each, also where squares of float32 would vanish or overflow; ``sizes`` say how large each is about."""
    n = x[0].numel()
    found = [square / n for square in squares(x)]
    return [
        second if 1e-12 < size < 1e12 else float(v.double().square().mean())
        for second, size, v in zip(found, sizes, x, strict=True)
    ]


def count_nonfinite(value: torch.Tensor) -> int:
    """How many values are NaN or infinite: one sum where none is."""
    x = value.detach()
    if not x.numel() or not (x.is_floating_point() or x.is_complex()):
        return 0
    total = x.sum(dtype=torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else None)
    if total.is_complex():
        total = total.abs()
    if math.isfinite(float(total)):
        return 0
    return x.numel() - int(torch.isfinite(x).sum())
