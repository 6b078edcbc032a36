"""Which rows of a fused projection become queries, keys and values, read from a traced forward.

Models stack them in one of two ways: q, k and v of the whole layer one behind the other, or head by head. The shapes
are the same. Here the numbers of the rows are sent through the calls between the projection and the attention, which
only view, cut and turn values, and what arrives there tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.utils import _pytree as pytree

from ...graphs.ops import ATTENTION, JOINS, MATMULS, NORMS, VIEWS
from ...graphs.tape import Node, Ref, Tape

# Calls that leave every value in its place: rotations and scales do, for what they say of rows.
_IN_PLACE = NORMS | {"mul", "div", "add", "sub", "neg", "pow"}
_SLOTS = (("query", 0), ("key", 1), ("value", 2))
_MOST = 200


def stacking(tape: Tape, call: int, parts: int) -> str:
    """How a fused projection's rows are stacked, where not as its parts one behind the other in the order q, k, v.

    Args:
        tape: the forward.
        call: the projection, whose outputs lie along the last axis.
        parts: three for q, k and v, two for k and v.

    Returns:
        ``"by head"``, ``"in another order"``; "" for the usual order, and where the rows could not be followed to an
        attention.
    """
    width = tape[call].shape[-1]
    if width % parts:
        return ""
    met = _followed(tape, call, width)
    wanted = ("query", "key", "value")[3 - parts :]
    if any(name not in met for name in wanted):
        return ""
    size = width // parts
    blocks = [set(range(i * size, (i + 1) * size)) for i in range(parts)]
    if [met[name] for name in wanted] == blocks:
        return ""
    return "in another order" if all(met[name] in blocks for name in wanted) else "by head"


def _followed(tape: Tape, call: int, width: int) -> dict[str, set[int]]:
    """The rows that arrive at the first attention behind a call, as queries, keys and values."""
    known: dict[tuple[int, int], torch.Tensor] = {(call, 0): torch.arange(width).expand(tape[call].shape)}
    met: dict[str, set[int]] = {}
    for node in tape.nodes[call + 1 : call + 1 + _MOST]:
        held = [known[key] for o in node.operands if (key := (o.ref.node, o.ref.output)) in known]
        if not held:
            continue
        if node.op in ATTENTION:
            for name, slot in _SLOTS:
                ref = node.tensor(name, slot)
                if ref is not None and (ref.node, ref.output) in known:
                    met[name] = _rows(known[ref.node, ref.output])
            return met
        if node.op in MATMULS:
            _product(node, known, met)
            if len(met) == 3:
                return met
            continue
        for i, values in enumerate(_through(node, known, held)):
            known[node.id, i] = values
    return met


def _product(node: Node, known: Mapping[tuple[int, int], torch.Tensor], met: dict[str, set[int]]) -> None:
    """A product of two values: of queries and keys where both are known, else of what attends with values."""
    sides = [known.get((o.ref.node, o.ref.output)) for o in node.operands]
    if len(sides) == 2 and sides[0] is not None and sides[1] is not None and "query" not in met:
        met["query"], met["key"] = _rows(sides[0]), _rows(sides[1])
    elif len(sides) == 2 and sides[1] is not None:
        met.setdefault("value" if "query" in met else "key", _rows(sides[1]))


def _rows(values: torch.Tensor) -> set[int]:
    return set(values.flatten().tolist())


def _through(
    node: Node, known: Mapping[tuple[int, int], torch.Tensor], held: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """The rows' numbers behind one call; none where it does more than lay values out anew."""
    if node.op in _IN_PLACE:
        return [v for v in held[:1] if v.shape == node.shape]
    if node.op not in VIEWS | JOINS or node.function is None:
        return []
    try:
        args = [_filled(a, known) for a in node.args]
        out = node.function(*args, **{k: _filled(v, known) for k, v in node.kwargs.items()})
    except Exception:  # whatever a call does not take: it is then not followed
        return []
    return [t for t in pytree.tree_leaves(out) if isinstance(t, torch.Tensor)]


def _filled(argument: object, known: Mapping[tuple[int, int], torch.Tensor]) -> object:
    """A call's argument with the known numbers in the places of tensors."""
    if isinstance(argument, Ref):
        return known[argument.node, argument.output]
    if isinstance(argument, list | tuple):
        return type(argument)([_filled(a, known) for a in argument])
    if isinstance(argument, dict):
        return {k: _filled(a, known) for k, a in argument.items()}
    return argument
