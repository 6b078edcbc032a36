"""Signals through linear maps: y_i = Σ_j w_ij x_j with independent weights of mean μ and variance σ².

E[y] = n μ E[x];  Var[y] = n (σ² E[x²] + μ² Var[x]);  covariances of y in the same way from E[x x'] = cov + E[x]².
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..graphs.tape import Node, Ref
from .signal import Signal


def mapped(x: Signal, fan_in: float, weight: Signal, *, centred: bool = False) -> Signal:
    """The signal behind a map of ``fan_in`` inputs; ``centred`` where each unit's weights sum to zero."""
    mean = 0.0 if centred else x.mean
    square = mean**2

    def out(part: float) -> float:
        return fan_in * (weight.variance * (part + square) + weight.mean**2 * part)

    return Signal(fan_in * weight.mean * mean, out(x.variance), out(x.shared), out(x.local), known=x.known)


def with_bias(y: Signal, bias: Signal) -> Signal:
    """A bias added: one number a unit, the same for all samples and positions."""
    v = bias.variance
    return Signal(y.mean + bias.mean, y.variance + v, y.shared + v, y.local + v, known=y.known)


def conv_fan_in(node: Node) -> float:
    """The mean number of inputs that one output of a convolution sums, what lies in the padding left out."""
    x, weight = node.tensor("input", 0), node.tensor("weight", 1)
    if x is None or weight is None:
        return 1.0
    rank = len(weight.shape) - 2
    stride, dilation = (_each(node.argument(n, p, 1), rank) for n, p in (("stride", 3), ("dilation", 5)))
    padding = node.argument("padding", 4, 0)
    fan = float(weight.shape[1] * math.prod(weight.shape[2:]))
    if isinstance(padding, str):
        pads = [d * (k - 1) // 2 if padding == "same" else 0 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    else:
        pads = list(_each(padding, rank))
    for axis in range(rank):
        size, kernel, out = x.shape[axis - rank], weight.shape[2 + axis], node.shape[axis - rank]
        inside = sum(
            0 <= o * stride[axis] - pads[axis] + k * dilation[axis] < size for o in range(out) for k in range(kernel)
        )
        fan *= inside / (out * kernel)
    return fan


def transposed_fan_in(node: Node) -> float:
    """The mean number of inputs that one output of a transposed convolution sums: overlaps and edges counted."""
    x, weight = node.tensor("input", 0), node.tensor("weight", 1)
    if x is None or weight is None:
        return 1.0
    rank = len(weight.shape) - 2
    stride, pads = (_each(node.argument(n, p, d), rank) for n, p, d in (("stride", 3, 1), ("padding", 4, 0)))
    dilation = _each(node.argument("dilation", 7, 1), rank)
    groups = node.argument("groups", 6, 1)
    fan = weight.shape[0] / (groups if isinstance(groups, int) else 1)
    for axis in range(rank):
        size, kernel, out = x.shape[axis - rank], weight.shape[2 + axis], node.shape[axis - rank]
        reached = sum(
            0 <= i * stride[axis] + k * dilation[axis] - pads[axis] < out for i in range(size) for k in range(kernel)
        )
        fan *= reached / out
    return fan


def _each(value: object, rank: int) -> Sequence[int]:
    given = [int(v) for v in value if isinstance(v, int)] if isinstance(value, Sequence) else [value]
    numbers = [v for v in given if isinstance(v, int)]
    return numbers * rank if len(numbers) == 1 else numbers


def looked_up(table: Signal, ids: Ref, value: object) -> Signal:
    """Rows of a table: two samples, or two positions, share a value where they have the same id."""
    if not isinstance(value, torch.Tensor) or value.dim() < 1 or value.shape[0] < 2:
        return Signal(table.mean, table.variance, known=table.known)
    flat = value.reshape(value.shape[0], -1)[:64, :512]
    between = float((flat[:-1] == flat[1:]).double().mean())
    same = (flat[:, :, None] == flat[:, None, :]).double().sum((1, 2))
    n = flat.shape[1]
    within = float(((same - n) / (n * (n - 1))).mean()) if n > 1 and len(ids.shape) > 1 else 0.0
    return Signal(table.mean, table.variance, table.variance * between, table.variance * within, known=table.known)
