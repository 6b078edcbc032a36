"""Signals through linear maps: y_i = Σ_j w_ij x_j with independent weights of mean μ and variance σ².

E[y] = n μ E[x];  Var[y] = n (σ² E[x²] + μ² Var[x]);  covariances of y in the same way from E[x x'] = cov + E[x]².
"""

from __future__ import annotations

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


Profile = tuple[tuple[float, ...], ...]


def conv_fan_in(node: Node, profile: Profile | None) -> tuple[float, Profile]:
    """The mean number of inputs that one output of a convolution sums, and how that varies along each spatial axis.

    What lies in the padding is left out, and each input counts by its share of the signal: after some layers the
    edges, which summed less, are darker.
    """
    x, weight = _operands(node)
    rank = len(weight.shape) - 2
    stride, dilation = (_each(node.argument(n, p, 1), rank) for n, p in (("stride", 3), ("dilation", 5)))
    padding = node.argument("padding", 4, 0)
    if isinstance(padding, str):
        pads = [d * (k - 1) // 2 if padding == "same" else 0 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    else:
        pads = list(_each(padding, rank))
    fan, along = float(weight.shape[1]), []
    for axis in range(rank):
        light = _light(profile, axis, x.shape[axis - rank])
        starts = [o * stride[axis] - pads[axis] for o in range(node.shape[axis - rank])]
        steps = [k * dilation[axis] for k in range(weight.shape[2 + axis])]
        sums = [sum(light[s + k] for k in steps if 0 <= s + k < len(light)) for s in starts]
        fan *= sum(sums) / len(sums)
        along.append(_relative(sums))
    return fan, tuple(along)


def transposed_fan_in(node: Node, profile: Profile | None) -> tuple[float, Profile]:
    """The same for a transposed convolution: overlaps and edges counted."""
    x, weight = _operands(node)
    rank = len(weight.shape) - 2
    stride, pads = (_each(node.argument(n, p, d), rank) for n, p, d in (("stride", 3, 1), ("padding", 4, 0)))
    dilation = _each(node.argument("dilation", 7, 1), rank)
    groups = node.argument("groups", 6, 1)
    fan, along = weight.shape[0] / (groups if isinstance(groups, int) else 1), []
    for axis in range(rank):
        light = _light(profile, axis, x.shape[axis - rank])
        sums = [0.0] * node.shape[axis - rank]
        for i, share in enumerate(light):
            for k in range(weight.shape[2 + axis]):
                place = i * stride[axis] + k * dilation[axis] - pads[axis]
                if 0 <= place < len(sums):
                    sums[place] += share
        fan *= sum(sums) / len(sums)
        along.append(_relative(sums))
    return fan, tuple(along)


def _operands(node: Node) -> tuple[Ref, Ref]:
    x, weight = node.tensor("input", 0), node.tensor("weight", 1)
    if x is None or weight is None:
        raise ArithmeticError(f"{node.op} without an input and a weight")
    return x, weight


def _light(profile: Profile | None, axis: int, size: int) -> tuple[float, ...]:
    known = profile[axis] if profile is not None and axis < len(profile) else ()
    return known if len(known) == size else (1.0,) * size


def _relative(sums: Sequence[float]) -> tuple[float, ...]:
    mean = sum(sums) / len(sums)
    return tuple(s / mean for s in sums) if mean > 0 else (1.0,) * len(sums)


def resampled(profile: Profile | None, before: Sequence[int], after: Sequence[int]) -> Profile | None:
    """A profile where a pool or an upsampling has changed the spatial sizes; the same where it has not."""
    if profile is None or len(before) != len(after) or len(before) != len(profile) + 2:
        return None
    out = []
    for along, size in zip(profile, after[2:], strict=True):
        n = len(along)
        cuts = [(i * n // size, max(i * n // size + 1, (i + 1) * n // size)) for i in range(size)]
        out.append(_relative([sum(along[a:b]) / (b - a) for a, b in cuts]) if n else ())
    return tuple(out)


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


def bagged(node: Node, row: Signal, ids: Ref) -> Signal:
    """A bag of rows, added or averaged; of a flat list of ids, the bags' mean size."""
    size = ids.shape[-1] if len(ids.shape) > 1 else max(1, ids.shape[0] // max(1, node.shape[0]))
    mode = node.argument("mode", 6, "mean")
    if mode == "max" or size < 2:
        return row
    added = Signal(
        size * row.mean,
        size * row.variance + size * (size - 1) * row.local,
        size**2 * row.shared,
        0.0,
        known=row.known,
    )
    return added if mode == "sum" else added.scaled(1 / size)
