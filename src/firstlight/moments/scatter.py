"""How far a network's signal lies from its prediction, from seed to seed: what finite width does.

A prediction is a mean over weights. In one network the second moment behind a map of n inputs is q' = σ² Σ φ(z_c)², a
sum over n units, of relative variance (E[φ⁴] / E[φ²]² - 1) / n; what samples and positions have in common does not
average out. Over layers these add up (Hanin & Rolnick 2018, arXiv 1803.01719); a norm takes them away. The mean of a
standard deviation then lies below the root of the mean variance: E√q ≈ √E[q] (1 - Var[q] / 8 E[q]²).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from ..graphs.ops import NORMS, SUMS
from ..graphs.tape import Flow, Node, Ref
from ..graphs.walks import divided_by_spread, is_weight_call
from .propagate import Propagation
from .quadrature import through
from .signal import Function, Signal


def scatter(done: Propagation) -> Mapping[int, float]:
    """The relative variance, over seeds, of the second moment that every weight's output shows.

    Args:
        done: predictions that have run along their whole tape.
    """
    gathered: dict[int, float] = {}
    shown: dict[int, float] = {}
    for node in done.tape:
        if node.flow is not Flow.DATA or node.is_source:
            continue
        data = [o.ref for o in node.operands if done.tape[o.ref.node].flow is Flow.DATA]
        if node.op in NORMS or divided_by_spread(done.tape, node) is not None or not data:
            gathered[node.id] = 0.0
        elif node.op in SUMS:
            gathered[node.id] = _of_sum(done, data, gathered)
        else:
            gathered[node.id] = max(gathered.get(r.node, 0.0) for r in data)
        if is_weight_call(done.tape, node) and data and len(node.shape) > 1:
            if not done.tape[data[0].node].is_source:  # inputs are what they are
                gathered[node.id] += _of_squares(done, data[0])
            shown[node.id] = gathered[node.id] + _of_output(done.signals[node.id], node)
    return shown


def _of_sum(done: Propagation, data: list[Ref], gathered: Mapping[int, float]) -> float:
    squares = [done.of(r).second for r in data]
    whole = sum(squares)
    return (
        sum(gathered.get(r.node, 0.0) * (s / whole) ** 2 for r, s in zip(data, squares, strict=True)) if whole else 0.0
    )


def _of_squares(done: Propagation, ref: Ref) -> float:
    """The relative variance of the mean square of a value, over its units, positions and samples."""
    x = done.of(ref)
    root = done.signals.get(x.root, x) if x.root is not None else x
    inner: Function = x.function or (lambda z: z)

    def square(z: torch.Tensor) -> torch.Tensor:
        return inner(z) ** 2

    try:
        found = through(square, root)
    except ArithmeticError:
        return 0.0
    return _averaged(found, ref.shape)


def _of_output(y: Signal, node: Node) -> float:
    return _averaged(through(torch.square, y.plain()), node.shape)


def _averaged(square: Signal, shape: tuple[int, ...]) -> float:
    """Var / E² of the mean of values with this signal, over all units and places of a tensor of this shape."""
    if not square.mean > 0:
        return 0.0
    samples, units = shape[0], shape[1] if len(shape) >= 4 else shape[-1]
    positions = math.prod(shape) // max(1, samples * units)
    pairs = square.variance + (positions - 1) * square.local + positions * (samples - 1) * square.shared
    return pairs / (samples * positions) / square.mean**2 / max(1, units)
