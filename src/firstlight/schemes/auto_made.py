"""What ``auto`` asks of weights that no data meets by themselves: who takes what is made of them, and does it grow?"""

from __future__ import annotations

from ..graphs.ops import MATMULS, VIEWS, WEIGHT_CALLS
from ..graphs.readings import read
from ..graphs.records import Parameter
from ..graphs.tape import Flow, Node
from ..graphs.walks import Readers
from ..moments import Propagation, Signal
from .weights import WEIGHTS


def taken_with(readers: Readers, node: Node) -> float | None:
    """The fan-in of the layer that takes as its weight what this layer makes of learned values; ``None`` for others."""
    if node.op not in WEIGHT_CALLS - MATMULS:
        return None
    place = node
    while len(readers[place.id]) == 1:
        place, operand = readers[place.id][0]
        reading = read(place, operand)
        if place.flow is Flow.DATA:
            return reading.fan_in if reading is not None and reading.role in WEIGHTS else None
        if place.op not in VIEWS:
            return None
    return None


def is_kept(signals: Propagation, readers: Readers, parameter: Parameter, node: Node) -> bool:
    """Whether what is computed of a parameter does not grow with it, as an orthogonal matrix does not."""
    end = node
    while len(readers[end.id]) == 1 and readers[end.id][0][0].flow is Flow.WEIGHTS:
        end = readers[end.id][0][0]
    made = []
    for std in (1.0, 2.0):
        signals.weights[parameter.name] = Signal(0.0, std**2)
        made.append(signals.weight(end.id).second)
    return 0 < made[1] < 2 * made[0]
