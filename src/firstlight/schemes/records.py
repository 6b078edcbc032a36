"""A scheme: the rule for a whole model, from its graph to a plan.

``by_name`` lists the schemes there are and makes one from text, ``writers.init_`` applies one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..graphs.records import Graph
from ..plans import Plan


@dataclass(frozen=True, slots=True)
class Scheme:
    """A model-wide rule.

    Args:
        label: its name with its arguments, as ``parse`` reads it: ``normal(std=0.01)``.
        plan: decides for every parameter of a graph; pure.
        traced: whether it asks for example inputs: with a traced graph it knows more.
    """

    label: str
    plan: Callable[[Graph], Plan]
    traced: bool = False

    def __str__(self) -> str:
        return self.label
