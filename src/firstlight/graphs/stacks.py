"""Maps that one weight stacks: a gate beside its value, the gates of a recurrent cell.

``uses`` divides their fan-out by the count.
"""

from __future__ import annotations

from .ops import VIEWS, words
from .tape import Flow, Node, Tape
from .walks import Readers, is_weight_call

_CUTS = words("chunk split tensor_split unbind")


def stacked_maps(tape: Tape, readers: Readers, call: Node) -> int:
    """How many equal maps a weight call's output is cut into, of which one multiplies another; 1 where it is whole."""
    waiting, seen = [call.id], {call.id}
    while waiting:
        for reader, _ in readers[waiting.pop()]:
            if reader.op == "glu":
                return 2
            if reader.op in _CUTS:
                sizes = set(reader.shapes)
                if len(sizes) == 1 and len(reader.shapes) > 1 and _meet(tape, readers, reader):
                    return len(reader.shapes)
            elif reader.op in VIEWS | {"add"} and reader.id not in seen:
                seen.add(reader.id)
                waiting.append(reader.id)
    return 1


def _meet(tape: Tape, readers: Readers, cut: Node) -> bool:
    """Whether two parts of a cut are multiplied with each other before any weight."""
    parts: dict[int, set[int]] = {}
    for reader, operand in readers[cut.id]:
        parts.setdefault(reader.id, set()).add(operand.ref.output)
    for place in sorted(parts):
        grown = [place]
        while grown:
            here = grown.pop()
            for reader, _ in readers[here]:
                if reader.flow is not Flow.DATA or is_weight_call(tape, reader):
                    continue
                before = parts.setdefault(reader.id, set())
                if not parts[here] <= before:
                    before |= parts[here]
                    grown.append(reader.id)
    return any(tape[n].op == "mul" and len(made) > 1 for n, made in parts.items())
