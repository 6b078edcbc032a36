"""Values with a given signal, and the signal of a call that is run on such: where no formula is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from ..graphs.tape import Node, Ref
from .calls import first_tensor, run
from .signal import Signal, measured

LARGEST = 4_000_000


def sampled(node: Node, signal: Callable[[Ref], Signal], value: Callable[[Ref], torch.Tensor | None]) -> Signal:
    """The signal of a call's output, measured on Gaussian operands with the signals they should have.

    Raises:
        ArithmeticError: the call is too large, or cannot be run.
    """
    if sum(math.prod(o.ref.shape) for o in node.operands) + math.prod(node.shape) > LARGEST:
        raise ArithmeticError(f"{node.op} is too large to be sampled")
    generator = torch.Generator().manual_seed(node.id)

    def lookup(ref: Ref) -> torch.Tensor:
        real = value(ref)
        return real if real is not None else drawn(signal(ref), ref.shape, generator)

    out = first_tensor(run(node, lookup))
    if out is None or not out.is_floating_point() or out.numel() == 0:
        raise ArithmeticError(f"{node.op} gives no numbers")
    found = measured(torch.nan_to_num(out.double(), 0.0, 0.0, 0.0))
    return Signal(found.mean, found.variance, found.shared, found.local, known=False)


def drawn(x: Signal, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Gaussian values of this shape and signal: parts common to all, to positions, to samples, and each one's own."""
    shape = tuple(shape)
    common = max(0.0, min(x.shared, x.local)) if len(shape) > 2 else 0.0
    shared, local = max(0.0, x.shared - common), max(0.0, x.local - common)
    own = max(0.0, x.variance - shared - (local if len(shape) > 2 else 0.0) - common)
    values = torch.full(shape, x.mean) + math.sqrt(own) * torch.randn(shape, generator=generator)
    for part, kept in ((common, _units(shape)), (shared, (1, *shape[1:])), (local, _samples(shape))):
        if part > 0 and len(shape) > 1:
            values = values + math.sqrt(part) * torch.randn(kept, generator=generator)
    return values


def _units(shape: tuple[int, ...]) -> tuple[int, ...]:
    axis = 1 if len(shape) >= 4 else len(shape) - 1
    return tuple(n if a == axis else 1 for a, n in enumerate(shape))


def _samples(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) < 3:
        return tuple(1 for _ in shape)
    axis = 1 if len(shape) >= 4 else len(shape) - 1
    return tuple(n if a in (0, axis) else 1 for a, n in enumerate(shape))
