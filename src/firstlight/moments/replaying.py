"""A tape run again on real tensors: the value at every node, for measuring what ``propagate`` predicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch.nn import functional
from torch.utils import _pytree as pytree

from ..graphs.tape import CONSTANT, INPUT, PARAMETER, Flow, Node, Ref, Tape
from .calls import run


def replay(
    tape: Tape, parameters: Mapping[str, torch.Tensor], inputs: Mapping[int, torch.Tensor] | None = None
) -> Iterator[tuple[Node, list[torch.Tensor]]]:
    """Every node with its output tensors, in order; batch norms run as in training where the model was.

    Args:
        tape: what was recorded.
        parameters: a value for each parameter, by name.
        inputs: values for the inputs, by node; where none is given, the recorded ones.

    Raises:
        ArithmeticError: a call cannot be run again.
    """
    values: dict[int, list[torch.Tensor]] = {}

    def lookup(ref: Ref) -> torch.Tensor:
        found = values[ref.node][min(ref.output, len(values[ref.node]) - 1)]
        if ref.also and tuple(found.shape) != ref.shape:
            # What was written last is a part of it, and views share their storage: take the whole.
            wholes = (values[n][0] for n in ref.also if n in values and tuple(values[n][0].shape) == ref.shape)
            return next(wholes, found)
        return found

    for node in tape:
        if node.op == PARAMETER:
            found = [parameters[node.name]]
        elif node.op == INPUT and inputs is not None and node.id in inputs:
            found = [inputs[node.id]]
        elif node.is_source:
            found = [_source(node)]
        elif node.flow is Flow.FIXED and node.value is not None and len(node.shapes) == 1:
            found = [node.value.clone()]
        else:
            out = run(_as_trained(node), lookup)
            found = [t for t in pytree.tree_leaves(out) if isinstance(t, torch.Tensor)]
            found = found or [lookup(node.operands[0].ref)]  # written in place, nothing returned
        values[node.id] = found
        yield node, found


def _source(node: Node) -> torch.Tensor:
    """What stands on the tape, as a copy, since a call may write into it; for the model's own noise, a draw."""
    if node.value is not None:
        return node.value.clone()
    if node.op != CONSTANT or not node.dtypes[0].is_floating_point:
        raise ArithmeticError(f"the value of {node.name or node.op!r} is not known")
    return torch.randn(node.shape, generator=torch.Generator().manual_seed(node.id), dtype=node.dtypes[0])


def _as_trained(node: Node) -> Node:
    """A batch norm as it runs in training, without touching running statistics."""
    if node.op != "batch_norm" or not node.training:
        return node
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    named = dict(zip(names, node.args, strict=False))
    given = {**named, **node.kwargs, "running_mean": None, "running_var": None, "training": True}
    given.pop("cudnn_enabled", None)
    return replace(node, args=(), kwargs=given, function=functional.batch_norm)
