"""Resampling of tables that lie on a line or a grid: what positions, relative biases and patches share."""

from __future__ import annotations

import math

import torch
from torch.nn import functional


def resized(grid: torch.Tensor, sizes: tuple[int, ...], mode: str) -> torch.Tensor:
    """Values on a line or grid (channels, *old sizes) at another resolution, in float64; the same size changes nothing.

    Where it shrinks, it is smoothed first (antialias), so that no value counts twice or not at all.
    """
    if tuple(grid.shape[1:]) == sizes:
        return grid
    values = grid.double()[None]
    if len(sizes) == 1:
        return functional.interpolate(values[:, :, None], (1, sizes[0]), mode=_flat(mode), antialias=True)[0, :, 0]
    return functional.interpolate(values, sizes, mode=mode, antialias=True)[0]


def _flat(mode: str) -> str:
    """On a line, two-dimensional interpolation over one row."""
    return {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)


def square(count: int) -> int | None:
    """The side of a square of so many cells."""
    side = math.isqrt(count)
    return side if side * side == count and side > 0 else None


def square_after_tokens(old: int, new: int, most: int = 2) -> tuple[int, int, int] | None:
    """How many tokens stand before two square grids, and the grids' sides: the fewest that fit both."""
    for tokens in range(most + 1):
        sides = square(old - tokens), square(new - tokens)
        if sides[0] is not None and sides[1] is not None:
            return tokens, sides[0], sides[1]
    return None
