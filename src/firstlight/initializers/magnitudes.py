"""The magnitude of a weight norm: the norm of its direction over the axes that the magnitude does not have."""

from __future__ import annotations

import torch


def norm_over(direction: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """‖direction‖ in the magnitude's shape: one number, or one for each slice along the axes that it keeps."""
    squares = direction.double().square()
    if len(shape) != direction.dim():
        return squares.sum().sqrt().reshape(shape)
    for axis, size in enumerate(shape):
        squares = squares if size == direction.shape[axis] else squares.sum(axis, keepdim=True)
    return squares.sqrt()
