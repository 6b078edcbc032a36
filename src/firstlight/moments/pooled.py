"""Signals through pools and means: averages keep what positions share, maxima are those of correlated Gaussians."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..graphs.ops import words
from ..graphs.tape import Node, Ref
from .signal import Function, Signal

AVERAGES = words(
    "mean sum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
)
MAXIMA = words("max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax")


def averaged(node: Node, x: Signal, read: Ref) -> Signal:
    """The signal of a mean or sum over units or positions."""
    shape = read.shape
    count = window(node) or math.prod(shape) / max(1, math.prod(node.shape))
    if node.op in ("mean", "sum") and _over_units(node, shape):
        out = Signal(x.mean, x.variance / count, x.shared / count, x.local / count, known=x.known)
    else:
        left = x.local + max(0.0, x.variance - x.local) / count
        shared = x.across + max(0.0, x.shared - x.across) / count
        positions = math.prod(shape) / max(1, shape[0] * (shape[1] if len(shape) >= 4 else shape[-1]))
        out = Signal(x.mean, left, min(shared, left), left if count >= positions > 1 else x.local, known=x.known)
    return out.scaled(count) if node.op == "sum" else out


def _over_units(node: Node, shape: tuple[int, ...]) -> bool:
    """Whether the axis that is averaged counts units: the last of up to three, the second of pictures."""
    dims = node.argument("dim", 1)
    axes = {d % len(shape) for d in (dims if isinstance(dims, Sequence) else [dims]) if isinstance(d, int)}
    if not axes:
        return False
    return (
        axes == {len(shape) - 1} if len(shape) <= 3 else axes == {1} or (axes == {len(shape) - 1} and len(shape) != 4)
    )


def maximum(node: Node, x: Signal, root: Signal, function: Function | None, read: Ref) -> Signal:
    """The signal of the largest of a window of f(z), the z Gaussian with the root's correlation of neighbours."""
    z = _windows(node, root, read)
    values = (function(z.reshape(-1)).double().reshape(z.shape) if function is not None else z).amax(1)
    variance = float(values.var(correction=0))
    factor = variance / x.variance if x.variance > 0 else 1.0
    return Signal(
        float(values.mean()),
        variance,
        min(x.shared * factor, variance),
        min(x.local * factor, variance),
        known=x.known,
    )


def slope_at_maximum(node: Node, root: Signal, slope: Function, function: Function, read: Ref) -> Signal:
    """The signal of φ'(z) where φ(z) is the largest of its window."""
    z = _windows(node, root, read)
    at = function(z.reshape(-1)).double().reshape(z.shape).argmax(1, keepdim=True)
    values = slope(z.gather(1, at).flatten()).double()
    mean, variance = float(values.mean()), float(values.var(correction=0))
    return Signal(mean, variance, known=root.known)


def _windows(node: Node, root: Signal, read: Ref) -> torch.Tensor:
    """Draws of the Gaussian values in a window, with the root's correlation of neighbours."""
    count = int(window(node) or math.prod(read.shape) / max(1, math.prod(node.shape)))
    share = min(max(root.local / root.variance, 0.0), 1.0) if root.variance > 0 else 0.0
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(8192, max(1, min(count, 512)), generator=generator, dtype=torch.float64)
    common = torch.randn(8192, 1, generator=generator, dtype=torch.float64)
    spread = math.sqrt(max(root.variance, 0.0))
    return root.mean + spread * (math.sqrt(1 - share) * own + math.sqrt(share) * common)


def window(node: Node) -> float | None:
    """How many values a pool's window holds; ``None`` for a call without one."""
    if not node.op.startswith(("avg_pool", "max_pool")):
        return None
    size = node.argument("kernel_size", 1)
    rank = int(node.op[-2])
    if isinstance(size, int):
        return float(size**rank)
    given = [s for s in size if isinstance(s, int)] if isinstance(size, Sequence) else [1]
    return float(math.prod(given * rank if len(given) == 1 else given))
