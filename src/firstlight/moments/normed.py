"""Signals through normalizations."""

from __future__ import annotations

import math

from ..graphs.tape import Node
from .signal import Signal


def normed(node: Node, x: Signal, shape: tuple[int, ...]) -> Signal:
    """The signal behind a norm without its scale and shift.

    A layer, group or RMS norm divides a sample by its own spread: what samples share stays shared. A batch norm, in
    training, takes away each unit's mean over the batch and its positions, and with it most of what is shared.
    """
    eps = _eps(node)
    match node.op:
        case "batch_norm":
            common = in_common(x, shape)
            rest = max(x.variance - common, 1e-12)
            return Signal(0.0, rest / (rest + eps), 0.0, max(0.0, x.local - common) / (rest + eps), known=x.known)
        case "instance_norm":
            rest = max(x.variance - x.local, 1e-12)
            return Signal(0.0, rest / (rest + eps), 0.0, 0.0, known=x.known)
        case "rms_norm":
            square = x.second + eps
            return Signal(x.mean / math.sqrt(square), x.variance / square, x.shared / square, x.local / square)
        case "normalize":
            axis = node.argument("dim", 2, 1)
            width = shape[axis] if isinstance(axis, int) and -len(shape) <= axis < len(shape) else shape[-1]
            square = max(x.second * width, 1e-24)
            return Signal(x.mean / math.sqrt(square), x.variance / square, x.shared / square, x.local / square)
        case _:
            square = x.variance + eps
            return Signal(0.0, x.variance / square, x.shared / square, x.local / square, known=x.known)


def in_common(x: Signal, shape: tuple[int, ...]) -> float:
    """The variance of a unit's mean over the batch and its positions."""
    batch, positions = shape[0], math.prod(shape[2:])
    common = x.variance / (batch * positions) + x.shared * (batch - 1) / batch
    return common + x.local * (positions - 1) / (batch * positions)


def divided_by(node: Node, x: Signal, shape: tuple[int, ...]) -> float:
    """The square of what a norm divides by."""
    match node.op:
        case "batch_norm":
            return max(x.variance - in_common(x, shape), 1e-12) + _eps(node)
        case "instance_norm":
            return max(x.variance - x.local, 1e-12) + _eps(node)
        case "rms_norm":
            return x.second + _eps(node)
        case "normalize":
            return max(x.second * shape[-1], 1e-24)
        case _:
            return x.variance + _eps(node)


def _eps(node: Node) -> float:
    given = node.kwargs.get("eps")
    if given is None:
        numbers = [a for a in node.args if isinstance(a, float) and 0 < a < 0.05]
        given = numbers[-1] if numbers else 1e-5
    return float(given) if isinstance(given, float | int) else 1e-5
