"""Real values along a tape, where they follow from integers and fixed values alone: positions, and masks over ids."""

from __future__ import annotations

import math

import torch

from ..graphs.ops import words
from ..graphs.tape import INPUT, PARAMETER, Flow, Node, Ref, Tape
from .calls import first_tensor, run

_LARGEST = 1_000_000
_FORMED = words("type_as expand_as")  # the other operand only says the type or the shape


class Exact:
    """What is known for certain: what the tape holds, and what is computed from it here."""

    def __init__(self, tape: Tape) -> None:
        """Nothing computed yet."""
        self.tape = tape
        self._computed: dict[int, torch.Tensor] = {}

    def value(self, ref: Ref) -> torch.Tensor | None:
        """The real value that a call reads, where it is known; ``None`` for a parameter's."""
        node = self.tape[ref.node]
        if node.op == PARAMETER:
            return None
        if ref.output:
            return self._later_output(node, ref) if node.flow is Flow.FIXED else None
        found = node.value if node.value is not None else self._computed.get(node.id)
        return found if found is not None and tuple(found.shape) == ref.shape else None

    def computed(self, node: Node) -> torch.Tensor | None:
        """A call's floating output, where all that it reads is known and none of it is a floating input."""
        if math.prod(node.shape) > _LARGEST or len(node.shapes) != 1 or not node.dtypes[0].is_floating_point:
            return None
        try:
            if node.op in _FORMED:
                out: torch.Tensor | None = self._operand(node.operands[0].ref).to(node.dtypes[0]).expand(node.shape)
            else:
                for operand in node.operands:
                    self._operand(operand.ref)
                out = first_tensor(run(node, self._operand))
        except ArithmeticError:
            return None
        if out is None or tuple(out.shape) != node.shape:
            return None
        self._computed[node.id] = out
        return out

    def _operand(self, ref: Ref) -> torch.Tensor:
        found = self.value(ref)
        if found is None or (self.tape[ref.node].op == INPUT and found.is_floating_point()):
            raise ArithmeticError("not known")
        return found.clone()  # the call may write in place

    def _later_output(self, node: Node, ref: Ref) -> torch.Tensor | None:
        """A later output of a call on fixed values: it is run again, since the tape keeps only the first."""
        try:
            made = run(node, self._operand)
        except ArithmeticError:
            return None
        outputs = made if isinstance(made, tuple | list) else ()
        found = outputs[ref.output] if ref.output < len(outputs) else None
        return found if isinstance(found, torch.Tensor) and tuple(found.shape) == ref.shape else None
