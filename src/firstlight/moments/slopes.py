"""The slope of a function of single values, by forward differentiation of the recorded calls.

``backward`` sends gradients through it: E[φ'(z)²] needs no table, whatever φ the model wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.autograd import forward_ad

from .quadrature import share, through
from .signal import Function, Signal


def slope(function: Function) -> Function:
    """φ', of φ; zero where φ does not depend on its argument, as behind a ``detach``."""

    def derivative(z: torch.Tensor) -> torch.Tensor:
        return _tangent(lambda dual: function(dual), z)

    return derivative


def partial(function: Callable[[Sequence[torch.Tensor]], torch.Tensor], inner: Sequence[Function], at: int) -> Function:
    """z ↦ ∂f(y₀, y₁, …) / ∂y_at, where every y_i is a function of z."""

    def derivative(z: torch.Tensor) -> torch.Tensor:
        values = [f(z) for f in inner]
        return _tangent(lambda dual: function([*values[:at], dual, *values[at + 1 :]]), values[at])

    return derivative


def _tangent(function: Function, value: torch.Tensor) -> torch.Tensor:
    with forward_ad.dual_level():
        out = function(forward_ad.make_dual(value, torch.ones_like(value)))
        primal, tangent = forward_ad.unpack_dual(out)
        return torch.zeros_like(primal) if tangent is None else tangent.clone()


def sloped(derivative: Function, root: Signal) -> tuple[Signal, float]:
    """The signal of φ'(z) for z Gaussian with the root's statistics, and P(φ'(z) = 0).

    Raises:
        ArithmeticError: φ is no function of single values, or a call has no forward derivative.
    """
    found = through(derivative, root, jumps=True)
    return found, share(lambda y: y == 0, derivative, root)
