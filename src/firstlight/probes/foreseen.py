"""What theory says of one place or one gradient, in the words in which a probe would have measured it.

``predicting`` makes a ``Light`` of them.
"""

from __future__ import annotations

import math

import torch

from ..graphs.tape import Node
from ..moments import Signal
from ..moments.quadrature import share, share_of_all
from .parts import Backward, Forward
from .statistics import Limits, flat_part


def foreseen(node: Node, signal: Signal, root: Signal, batch: int, entropy: float | None) -> Forward:
    """The values at a place: moments, cosines, and by the Gaussian behind a function its zeros and its flat part.

    Args:
        node: the call.
        signal: of what it gives; ``root`` of the Gaussian value that this is a function of.
        batch: samples in the batch.
        entropy: of attention, H / log T.
    """
    second, shape = signal.second, node.shape
    limits = Limits()
    units = shape[1] if len(shape) >= 4 else shape[-1] if shape else 1
    samples = batch if shape and batch and math.prod(shape) % batch == 0 else 1
    positions = max(math.prod(shape) // max(samples * units, 1), 1)
    cosine = min(1.0, max(signal.shared + signal.mean**2, 0.0) / second) if second > 0 and samples > 1 else None
    local = min(1.0, max(signal.local + signal.mean**2, 0.0) / second) if second > 0 and positions > 1 else None
    spread = max(signal.variance - signal.shared, 0.0) * (1 - 1 / samples) / second if cosine is not None else None
    rows = min(samples, limits.samples) * min(positions, limits.positions)
    zeros, dead, flat = _shares(node.op, signal, root, rows)
    return Forward(
        mean=signal.mean,
        second=second,
        largest=0.0,
        zeros=zeros,
        dead=dead,
        constant=None,
        rows=rows,
        units=units,
        nonfinite=0,
        count=math.prod(shape),
        saturated=flat,
        entropy=entropy,
        cosine=cosine,
        position_cosine=local,
        sample_spread=spread,
    )


def _shares(op: str, signal: Signal, root: Signal, rows: int) -> tuple[float, float, float | None]:
    """Exact zeros, units that are zero in all rows, and the flat part of an activation; 0 and ``None`` elsewhere."""
    flat = flat_part(op)
    if signal.function is None:
        nothing = 1.0 if signal.second == 0 else 0.0
        return nothing, nothing, None
    try:
        zeros = share(_is_zero, signal.function, root)
        common = max(root.shared, root.local)
        dead = share_of_all(_is_zero, signal.function, root, common, rows) if zeros > 0 else 0.0
        return zeros, dead, None if flat is None else share(flat, signal.function, root)
    except ArithmeticError:
        return 0.0, 0.0, None


def _is_zero(y: torch.Tensor) -> torch.Tensor:
    return y == 0


def returned(g: Signal, zeros: float, count: int, size: float | None = None) -> Backward:
    """The gradient at a place; E|g| as of Gaussian entries beside zeros, where it is not known (``size``)."""
    second = g.second
    return Backward(
        mean=g.mean,
        second=second,
        mean_abs=math.sqrt(2 / math.pi * second * (1 - zeros)) if size is None else size,
        zeros=zeros,
        nonfinite=0,
        count=count,
    )
