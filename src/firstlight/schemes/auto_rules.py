"""What ``auto`` does with parameters that are no weights: tables that are looked up and added, scales on branches.

Each rule is named and cited in the entry it gives.
"""

from __future__ import annotations

import math
from collections import defaultdict

from ..graphs.ops import SUMS, VIEWS
from ..graphs.records import Graph, Parameter, Role
from ..graphs.tape import Flow, Node, Tape
from ..graphs.walks import Readers, is_normalized, is_weight_call
from ..initializers.constant import Constant
from ..initializers.elementwise import Normal
from ..plans.records import Entry
from .weights import WEIGHTS

_FIXUP = "Zhang et al. 2019, Fixup, arXiv 1901.09321"
_TIED = "Press & Wolf 2017, arXiv 1608.05859"
_BERT = "Devlin et al. 2019, arXiv 1810.04805"


def rule_entry(parameter: Parameter) -> Entry | None:
    """The rule for a norm's or branch's scale that closes a residual branch: 1/√N for N branches; ``None`` elsewhere.

    Behind a norm a weight's own scale is lost, so the branch is scaled where its scale is.
    """
    use = next((u for u in parameter.uses if u.branch is not None), None)
    if parameter.role not in (Role.NORM_SCALE, Role.LAYER_SCALE) or use is None or use.branch is None:
        return None
    total = use.branch.total
    if total < 2 and parameter.role is Role.NORM_SCALE:
        return None
    offset = 1 - parameter.declared.neutral  # what the module adds to it
    why = f"it closes branch {use.branch.index} of {total} of its stream: a scale of 1/√{total}"
    why += ", less the one that its module adds" if offset else ""
    return Entry(parameter, Constant(1 / math.sqrt(total) - offset), why, _FIXUP)


def table_entries(graph: Graph, tape: Tape) -> dict[str, Entry]:
    """Entries for tables: those that are added up share a unit second moment, one tied to an output layer serves it."""
    readers = tape.readers()
    sums: dict[int, list[tuple[Parameter, float]]] = defaultdict(list)
    found: dict[str, Entry] = {}
    for parameter in graph.parameters:
        if parameter.role not in (Role.EMBEDDING, Role.POSITIONAL) or not parameter.uses:
            continue
        head = next((u for u in parameter.uses if u.role in WEIGHTS), None)
        if head is not None:
            found[parameter.name] = _tied(parameter, _scale_before(tape, tape[head.node]))
        else:
            end, factor = _sum_behind(tape, readers, parameter.uses[0].node)
            sums[end].append((parameter, factor))
    for members in sums.values():
        found |= {p.name: _member(p, factor, members) for p, factor in members}
    return found


def _member(parameter: Parameter, factor: float, members: list[tuple[Parameter, float]]) -> Entry:
    n = len(members)
    if parameter.role is Role.POSITIONAL and not any(p.role is Role.EMBEDDING for p, _ in members):
        why = "positions start small beside the values they are added to"
        return Entry(parameter, Normal(std=0.02 / factor), why, _BERT)
    shared = f", and {n} tables are added" if n > 1 else ""
    scaled = f" that the model multiplies by {factor:.3g}" if abs(factor - 1) > 1e-6 else ""
    why = (
        f"a looked-up row{scaled}: unit second moment together{shared}"
        if n > 1
        else f"a looked-up row{scaled}: E[x²] = 1"
    )
    return Entry(parameter, Normal(std=1 / (factor * math.sqrt(n))), why, "LeCun et al. 1998")


def _tied(parameter: Parameter, factor: float) -> Entry:
    width = parameter.layout.shape[1]
    why = "tied to an output layer: logits of unit variance ask for 1/√width"
    if abs(factor - 1) > 1e-6:
        why += f", where what arrives is scaled by {factor:.3g}"
    return Entry(parameter, Normal(std=1 / (factor * math.sqrt(width))), why, _TIED)


def _sum_behind(tape: Tape, readers: Readers, start: int) -> tuple[int, float]:
    """The sum that a table's rows end up in, and the number they are multiplied by on the way."""
    place, factor = start, 1.0
    while True:
        calls = [r for r, _ in readers[place] if r.op in VIEWS | SUMS | {"mul", "div"}]
        others = [r for r, _ in readers[place] if r not in calls]
        if len(calls) != 1 or others:
            return place, factor
        node = calls[0]
        if node.op in ("mul", "div"):
            scale = _literal(tape, node, place)
            if scale is None:
                return place, factor
            factor *= scale
        elif node.op in SUMS and not _is_table_sum(tape, node):
            return place, factor
        place = node.id


def _is_table_sum(tape: Tape, node: Node) -> bool:
    """Whether a sum is not yet a residual join: no operand has passed a weight other than a table."""
    waiting, seen = list(node.inputs), set(node.inputs)
    while waiting:
        before = tape[waiting.pop()]
        if is_weight_call(tape, before) and before.op not in ("embedding", "embedding_bag"):
            return not any(is_weight_call(tape, tape[i]) for i in before.inputs) and before.op.startswith("conv")
        fresh = [i for i in before.inputs if i not in seen]
        seen.update(fresh)
        waiting += fresh
    return True


def _scale_before(tape: Tape, head: Node) -> float:
    """The number that multiplies what arrives at an output layer, behind the last norm."""
    factor, place = 1.0, next((i for i in head.inputs if tape[i].flow is Flow.DATA), head.id)
    while not is_normalized(tape, place) or tape[place].op in ("mul", "div"):
        node = tape[place]
        data = [i for i in node.inputs if tape[i].flow is Flow.DATA]
        if len(data) != 1 or node.op not in VIEWS | {"mul", "div"}:
            break
        if node.op in ("mul", "div"):
            scale = _literal(tape, node, data[0])
            if scale is None:
                break
            factor *= scale
        place = data[0]
    return factor


def _literal(tape: Tape, node: Node, value: int) -> float | None:
    """The number that a product or quotient applies to a value; ``None`` where it is no single known number."""
    numbers = [a for a in node.args if isinstance(a, int | float)]
    fixed = [tape[i].value for i in node.inputs if i != value and tape[i].flow is Flow.FIXED]
    numbers += [float(v) for v in fixed if v is not None and v.numel() == 1]
    if len(numbers) != 1 or not numbers[0] > 0:
        return None
    return numbers[0] if node.op == "mul" else 1 / numbers[0]


def sine_factor(tape: Tape, readers: Readers, call: Node) -> float | None:
    """The ω of sin(ω y) for a call's output y; ``None`` where it meets no sine or cosine."""
    place, factor = call.id, 1.0
    for _ in range(8):
        following = [r for r, _ in readers[place]]
        if len(following) != 1:
            return None
        node = following[0]
        if node.op in ("sin", "cos"):
            return factor
        if node.op in ("mul", "div"):
            scale = _literal(tape, node, place)
            if scale is None:
                return None
            factor *= scale
        elif node.op not in VIEWS | {"add"}:
            return None
        place = node.id
    return None
