"""What two traced graphs say of their units beside names: the role, what is met, and how deep a unit lies.

``structure`` marks units with it, the model's where it was traced, the source's where it is a live model that took the
same inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...graphs.records import Graph, Parameter, Role
from ...graphs.tape import PARAMETER, Tape
from .rows import stacking

_KNOWN = {
    Role.QUERY: "q",
    Role.KEY: "k",
    Role.VALUE: "v",
    Role.OUT: "o",
    Role.POSITIONAL: "positions",
    Role.RELATIVE_BIAS: "relative bias",
}
_FUSED = {2: "kv", 3: "qkv"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a graph knows of one parameter.

    Args:
        role: its role where the graph tells it, "" where only its name may.
        meets: what its output meets next, in a traced graph.
        depth: how many calls that read parameters lie before its own, on the longest way; -1 where it is not traced.
        out_axis: the axis of its outputs, where declared.
        table: whether it is looked up.
    """

    role: str = ""
    meets: str = ""
    depth: int = -1
    out_axis: int | None = None
    table: bool = False


def evidence(graph: Graph) -> Mapping[str, Evidence]:
    """By every name of every parameter."""
    depths = _depths(graph.tape) if graph.tape is not None else {}
    found: dict[str, Evidence] = {}
    for parameter in graph.parameters:
        use = parameter.uses[0] if parameter.uses else None
        made = Evidence(
            _role(parameter, graph.tape),
            use.meets if use is not None else "",
            depths.get(use.node, -1) if use is not None else -1,
            parameter.layout.out_axis,
            parameter.role in (Role.EMBEDDING, Role.POSITIONAL, Role.RELATIVE_BIAS),
        )
        found |= dict.fromkeys(parameter.names, made)
    return found


def _role(parameter: Parameter, tape: Tape | None) -> str:
    if parameter.role is Role.ATTENTION:
        found = _FUSED.get(parameter.layout.blocks, "")
        linear = bool(parameter.uses) and parameter.uses[0].op in ("linear", "matmul", "addmm")
        if found and tape is not None and linear:
            return f"{found} {stacking(tape, parameter.uses[0].node, parameter.layout.blocks)}".strip()
        return found
    if parameter.role is Role.EMBEDDING and len(parameter.names) > 1:
        return "tokens"  # tied to an output layer, whose name may come first
    return _KNOWN.get(parameter.role, "")


def _depths(tape: Tape) -> dict[int, int]:
    """For each call, how many calls that read a parameter lie before it on the longest way."""
    depths: dict[int, int] = {}
    reads = {node.id for node in tape for i in node.inputs if tape[i].op == PARAMETER}
    for node in tape:
        depths[node.id] = max((depths[i] + (i in reads) for i in node.inputs), default=0)
    return depths
