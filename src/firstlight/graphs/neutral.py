"""The value at which a scale changes nothing: one, or zero where the module multiplies by one plus it.

Found by running what the module computes of the parameter on single numbers.
"""

from __future__ import annotations

import torch

from .tape import Ref, Tape

_KNOWN = (1.0, 0.0)


def neutral(tape: Tape, parameter: int, path: tuple[int, ...]) -> float:
    """The number that the calls on ``path`` turn into one; 1 where none of them changes a value or none can be run."""
    return next((value for value in _KNOWN if _after(tape, parameter, path, value) == 1.0), 1.0)


def _after(tape: Tape, parameter: int, path: tuple[int, ...], value: float) -> float | None:
    known = {parameter: torch.tensor([value], dtype=torch.float64)}
    last = parameter
    for place in path:
        node = tape[place]
        if node.op in ("add", "sub", "rsub", "mul", "div", "neg", "exp", "sigmoid", "softplus", "tanh", "pow"):
            if any(operand.ref.node not in known for operand in node.operands) or node.function is None:
                return None
            arguments = [known[a.node] if isinstance(a, Ref) else a for a in node.args]
            try:
                known[place] = node.function(*arguments)  # type: ignore[assignment]
            except (TypeError, RuntimeError):
                return None
        else:  # a view or a cast
            known[place] = known[last]
        last = place
    return float(known[last])
