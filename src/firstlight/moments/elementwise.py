"""Signals through functions of single values: the recorded call itself, on the points of a quadrature.

So a hand-written GELU, x · σ(x) or sin(30 x) needs no table. Functions of one Gaussian value are kept together; sums
and products of values with different roots are taken as independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..graphs.ops import SUMS
from ..graphs.tape import Node, Operand, Ref
from .calls import first_tensor, run
from .quadrature import through
from .signal import Function, Signal


def one_value(
    node: Node, ref: Ref, x: Signal, signals: Mapping[int, Signal], constants: Mapping[int, Signal]
) -> Signal:
    """The signal of f(x), every other operand a constant.

    Raises:
        ArithmeticError: the call is no function of single values.
    """
    inner = x.function
    root = x.root if x.root is not None else ref.node
    source = signals.get(root, x)

    def function(z: torch.Tensor) -> torch.Tensor:
        value = z if inner is None else inner(z)
        return called(node, {ref.node: value, **{n: _scalar(c.mean) for n, c in constants.items()}})

    return _keep_logits(node, x, through(function, source).rooted(root, function))


def _keep_logits(node: Node, x: Signal, out: Signal) -> Signal:
    """Attention logits stay logits when they are scaled, shifted or capped."""
    if x.logits is None or x.variance <= 0 or node.op in ("softmax", "exp"):
        return out
    factor = out.variance / x.variance
    return Signal(
        out.mean,
        out.variance,
        out.shared,
        out.local,
        out.root,
        out.function,
        x.logits * factor,
        x.allowed,
        known=out.known,
    )


def with_constant(node: Node, x: Signal, other: Signal, *, first: bool) -> Signal | None:
    """A sum or product with something that is independent of the value; ``None`` for any other call."""
    match node.op:
        case "add":
            return x.plus(other)
        case "sub":
            return x.plus(other, -1.0) if first else other.plus(x, -1.0)
        case "rsub":
            return other.plus(x, -1.0)
        case "mul":
            return x.times(other)
        case "div" if first and other.variance <= 0.01 * other.mean**2:
            return x.scaled(1 / other.mean)
        case _:
            return None


def joined(
    node: Node, data: Sequence[Operand], signals_: Sequence[Signal], signals: Mapping[int, Signal]
) -> Signal | None:
    """A call on two values: together where both are functions of one root, else as independent ones."""
    a, b = signals_
    (left, right) = (o.ref for o in data)
    root_a = a.root if a.root is not None else left.node
    root_b = b.root if b.root is not None else right.node
    if root_a == root_b and left.shape == right.shape:
        return together(node, data, signals_, signals, {})
    if node.op in SUMS:
        return with_constant(node, a, b, first=True)
    if node.op == "mul":
        return a.plain().times(b.plain())
    if node.op == "div" and b.variance <= 0.05 * b.mean**2:
        return a.plain().scaled(1 / b.mean)
    return None


def together(
    node: Node,
    data: Sequence[Operand],
    signals_: Sequence[Signal],
    signals: Mapping[int, Signal],
    constants: Mapping[int, Signal],
) -> Signal | None:
    """A call on values that are all functions of one root, as ``where(x > 0, f(x), g(x))``; ``None`` for others."""
    roots = {x.root if x.root is not None else o.ref.node for x, o in zip(signals_, data, strict=True)}
    if len(roots) != 1 or len({o.ref.shape for o in data}) != 1:
        return None
    root = next(iter(roots))
    functions: dict[tuple[int | str, int], Function] = {
        (o.slot, o.index): x.function or _identity for x, o in zip(signals_, data, strict=True)
    }
    fixed = {n: _scalar(c.mean) for n, c in constants.items()}

    def function(z: torch.Tensor) -> torch.Tensor:
        return called(node, fixed, {slot: f(z) for slot, f in functions.items()})

    return through(function, signals.get(root, signals_[0])).rooted(root, function)


def _identity(z: torch.Tensor) -> torch.Tensor:
    return z


def _scalar(value: float) -> torch.Tensor:
    return torch.full((1,), value, dtype=torch.float64)


def called(
    node: Node, by_node: Mapping[int, torch.Tensor], by_slot: Mapping[tuple[int | str, int], torch.Tensor] | None = None
) -> torch.Tensor:
    """The recorded call on values in place of its tensors."""
    queue = [
        by_slot[o.slot, o.index] if by_slot is not None and (o.slot, o.index) in by_slot else by_node[o.ref.node]
        for o in node.operands
    ]
    values = iter(queue)
    made = run(node, lambda _: next(values).clone(), gradients=torch.is_grad_enabled())  # it may write in place
    out = first_tensor(made)
    if out is None:
        raise ArithmeticError(f"{node.op} gives no tensor")
    return out
