"""The slope of a function of single values, by differentiating the recorded calls.

``backward`` sends gradients through it: E[φ'(z)²] needs no table, whatever φ the model wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .quadrature import share, through
from .signal import Function, Signal


def slope(function: Function) -> Function:
    """φ', of φ; zero where φ does not depend on its argument, as behind a ``detach``."""

    def derivative(z: torch.Tensor) -> torch.Tensor:
        return _derived(function, z)

    return derivative


def partial(function: Callable[[Sequence[torch.Tensor]], torch.Tensor], inner: Sequence[Function], at: int) -> Function:
    """z ↦ ∂f(y₀, y₁, …) / ∂y_at, where every y_i is a function of z."""

    def derivative(z: torch.Tensor) -> torch.Tensor:
        values = [f(z) for f in inner]
        return _derived(lambda y: function([*values[:at], y, *values[at + 1 :]]), values[at])

    return derivative


def _derived(function: Function, value: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        place = value.detach().clone().requires_grad_()
        out = function(place)
        if not out.requires_grad:
            return torch.zeros_like(place)
        try:
            (found,) = torch.autograd.grad(out.sum(), place, allow_unused=True)
        except RuntimeError as error:
            raise ArithmeticError(f"no derivative: {error}") from error
    return torch.zeros_like(value) if found is None else found


def sloped(derivative: Function, root: Signal) -> tuple[Signal, float]:
    """The signal of φ'(z) for z Gaussian with the root's statistics, and P(φ'(z) = 0).

    Raises:
        ArithmeticError: φ is no function of single values, or a call has no forward derivative.
    """
    found = through(derivative, root, jumps=True)
    return found, share(lambda y: y == 0, derivative, root)
