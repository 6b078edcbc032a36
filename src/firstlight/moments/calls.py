"""Running a recorded call again on other tensors: the arguments as recorded, with values in the places of ``Ref``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils import _pytree as pytree

from ..graphs.tape import Node, Ref

Lookup = Callable[[Ref], torch.Tensor]


def run(node: Node, lookup: Lookup, *, gradients: bool = False) -> object:
    """What the call gives for the tensors that ``lookup`` finds; with ``gradients``, on autograd's graph.

    Raises:
        ArithmeticError: it cannot be run so, for whatever reason.
    """
    if node.function is None:
        raise ArithmeticError(f"{node.op} is no call")
    args, kwargs = pytree.tree_map(
        lambda x: lookup(x) if isinstance(x, Ref) else x,
        (node.args, dict(node.kwargs)),
        is_leaf=lambda x: isinstance(x, Ref),
    )
    try:
        with torch.set_grad_enabled(gradients):
            return node.function(*args, **kwargs)
    except Exception as error:
        raise ArithmeticError(f"{node.op} cannot be run again: {error}") from error


def first_tensor(value: object) -> torch.Tensor | None:
    """The first tensor in what a call gave."""
    return next((t for t in pytree.tree_leaves(value) if isinstance(t, torch.Tensor)), None)
