"""The model as data: every parameter with its role, its axes and its fans."""

from .axes import Axes
from .records import Branch, Declared, Graph, Parameter, Role, Status, Use
from .structure import Slot, slots, structure
from .tape import Node, Operand, Ref, Tape
from .tracing import Inputs, trace

__all__ = [
    "Axes",
    "Branch",
    "Declared",
    "Graph",
    "Inputs",
    "Node",
    "Operand",
    "Parameter",
    "Ref",
    "Role",
    "Slot",
    "Status",
    "Tape",
    "Use",
    "slots",
    "structure",
    "trace",
]
