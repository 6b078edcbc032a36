"""A call differentiated on values that are drawn: the gradients of what it reads, where no rule is known for it.

``backward`` turns to it, as ``propagate`` turns to ``sampling``: losses, scans, recurrent layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch.utils import _pytree as pytree

from ..graphs.tape import Flow, Node, Operand, Ref, Tape
from .calls import run
from .sampling import LARGEST, drawn
from .signal import Signal, measured, mixed

_DRAWS, _VALUES = 8, 400_000


def pulled(
    tape: Tape,
    node: Node,
    gradients: Mapping[int, Signal],
    signal: Callable[[Ref], Signal],
    value: Callable[[Ref], torch.Tensor | None],
) -> list[tuple[Operand, Signal | None]]:
    """The gradient to each real operand of a call, measured on what Gaussian values of the right signals give.

    Args:
        tape: what a forward did.
        node: the call.
        gradients: to its outputs, by number.
        signal, value: what an operand holds: its statistics, and its real value where that is known.

    Returns:
        Operand and gradient, ``None`` where none arrives at it.

    Raises:
        ArithmeticError: the call is too large, or cannot be differentiated.
    """
    operands = [o for o in node.operands if tape[o.ref.node].flow is not Flow.FIXED and tape.is_real(o.ref)]
    size = math.prod(node.shape) + sum(math.prod(o.ref.shape) for o in node.operands)
    if size > LARGEST:
        raise ArithmeticError(f"{node.op} is too large to be sampled")
    draws = [
        _pulled(node, operands, gradients, signal, value, seed)
        for seed in range(max(1, min(_DRAWS, _VALUES // max(1, size))))
    ]
    found: list[tuple[Operand, Signal | None]] = []
    for operand, *each in zip(operands, *draws, strict=True):
        arrived = [g for g in each if g is not None]
        whole = mixed(arrived, [1.0] * len(arrived)) if arrived else None
        if whole is not None and tape[operand.ref.node].flow is Flow.WEIGHTS:
            whole = Signal(0.0, whole.second)
        found.append((operand, None if whole is None else replace(whole, known=False)))
    return found


def _pulled(
    node: Node,
    operands: list[Operand],
    gradients: Mapping[int, Signal],
    signal: Callable[[Ref], Signal],
    value: Callable[[Ref], torch.Tensor | None],
    seed: int,
) -> list[Signal | None]:
    generator = torch.Generator().manual_seed(seed)
    leaves: list[torch.Tensor] = []
    wanted = {id(o.ref) for o in operands}

    def lookup(ref: Ref) -> torch.Tensor:
        real = value(ref)
        made = drawn(signal(ref), ref.shape, generator) if real is None else real
        if id(ref) not in wanted:
            return made.clone()
        leaves.append(made.detach().float().requires_grad_())
        return leaves[-1].clone()  # the call may write in place

    made = run(node, lookup, gradients=True)
    outputs = [t for t in pytree.tree_leaves(made) if isinstance(t, torch.Tensor)]
    pairs = [
        (outputs[i], drawn(g, tuple(outputs[i].shape), generator).to(outputs[i].dtype))
        for i, g in gradients.items()
        if i < len(outputs) and outputs[i].requires_grad
    ]
    if not pairs or len(leaves) != len(operands):
        raise ArithmeticError(f"{node.op} hands on no gradient")
    try:
        found = torch.autograd.grad([y for y, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True)
    except RuntimeError as error:
        raise ArithmeticError(f"{node.op} cannot be differentiated: {error}") from error
    return [None if g is None else measured(g) for g in found]
