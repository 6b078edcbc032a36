"""The model as data: every parameter with its role, its axes and its fans."""

from .axes import Axes
from .records import Declared, Graph, Parameter, Role
from .structure import Slot, slots, structure

__all__ = ["Axes", "Declared", "Graph", "Parameter", "Role", "Slot", "slots", "structure"]
