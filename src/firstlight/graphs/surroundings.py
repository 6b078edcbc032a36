"""What surrounds a call: the nonlinearity its output meets next, a norm between, the branch it closes, the way out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from .ops import ACTIVATIONS, ATTENTION, MATMULS, NORMS
from .records import Branch
from .residuals import Join
from .tape import Flow, Node, Operand, Tape
from .walks import Readers, backward, data_of, is_normalized, is_weight_call, meets_softmax


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What ``Use`` says of a call's output."""

    meets: str
    normalized: bool
    branch: Branch | None
    head: bool


# What grows as its argument grows: a weight before it still scales the branch that it closes.
_PROPORTIONAL = ("", "relu", "leaky_relu", "prelu", "abs", "product")


def surroundings(tape: Tape, readers: Readers, joins: Mapping[int, Join], call: int) -> Surroundings:
    """What surrounds the call at ``call``."""
    meets, normalized, branch, head = "", False, None, False
    outputs = {n for ref in tape.outputs for n in ref.nodes}
    # Beyond the first nonlinearity only the way out still matters; beyond a join, only what its sum meets.
    waiting: deque[tuple[int, str, bool]] = deque([(call, "", False)])
    seen = {call}
    while waiting:
        place, bent, joined = waiting.popleft()
        head = head or (place in outputs and not joined)
        for reader, operand in readers[place]:
            if reader.id in seen or reader.flow is not Flow.DATA:
                continue
            seen.add(reader.id)
            met = "" if bent else _nonlinearity(tape, readers, reader, operand, call)
            meets = meets or met
            if is_weight_call(tape, reader) or met == "softmax" or reader.op in ATTENTION:
                continue
            if reader.op in NORMS or is_normalized(tape, reader.id):
                normalized = normalized or not (bent or joined)
            join = joins.get(reader.id)
            if join is not None and place != join.skip and branch is None and not joined and bent in _PROPORTIONAL:
                branch = join.place
            joins_here = joined or join is not None
            if not (joins_here and meets):  # beyond both nothing is asked for
                waiting.append((reader.id, bent or met, joins_here))
    return Surroundings(meets, normalized, branch, head)


def _nonlinearity(tape: Tape, readers: Readers, node: Node, operand: Operand, call: int) -> str:
    """What a call does to the unit's value that ``call`` made; "" if nothing but a linear change."""
    if node.op in ATTENTION:
        return "softmax" if operand.slot in (0, 1, "query", "key") else ""
    data = data_of(tape, node)
    if node.op in MATMULS and len(data) == 2:
        return "softmax" if meets_softmax(readers, node.id) else ""
    if node.op == "mul" and len(data) == 2 and tape[data[0]].shape == tape[data[1]].shape:
        return "" if is_normalized(tape, node.id) or _of_itself(tape, data, call) else "product"
    if node.op in ACTIVATIONS:
        return "" if _measures_spread(readers, node) else node.op
    return ""


def _measures_spread(readers: Readers, node: Node) -> bool:
    """Whether a square is a norm's: its mean is taken next."""
    return node.op in ("pow", "square", "abs") and any(r.op in ("mean", "sum") for r, _ in readers[node.id])


def _of_itself(tape: Tape, factors: list[int], call: int) -> bool:
    """Whether both factors are functions of one call's output alone, as in a hand-written GELU."""
    behind = [list(backward(tape, f, lambda n: n.id != call and not is_weight_call(tape, n))) for f in factors]
    ends = {n.id for nodes in behind for n in nodes if n.id == call or is_weight_call(tape, n)}
    return ends == {call}
