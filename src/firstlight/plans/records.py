"""What can be decided about a parameter, and a plan's entry: one parameter, one decision, its reason.

Schemes make entries from a graph, a ``Plan`` holds them, the writers carry them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from ..graphs.records import Parameter
from ..initializers.base import Initializer


@final
@dataclass(frozen=True, slots=True)
class Keep:
    """The rule that leaves a parameter as it is, and why."""

    reason: str = "kept as it is"


@final
@dataclass(frozen=True, slots=True)
class OwnReset:
    """The rule that takes what the module's own ``reset_parameters`` gives.

    It runs on a copy of the module under a random state of its own, seeded by the seed and the module's name.
    """


@final
@dataclass(frozen=True, slots=True)
class NormOf:
    """The rule that gives a weight norm's magnitude the norm of its direction as written.

    Args:
        direction: the name of the parameter that holds the direction.
    """

    direction: str


Decision = Initializer | Keep | OwnReset | NormOf


@dataclass(frozen=True, slots=True)
class Entry:
    """One parameter's decision, its reason and its source; ``decision`` is ``None`` while no rule covers it."""

    parameter: Parameter
    decision: Decision | None
    reason: str
    reference: str = ""
