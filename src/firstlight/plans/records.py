"""The plan: for each parameter one decision and its reason. Data only; the writers carry it out.

A scheme makes a plan from a graph; ``rules`` and ``keep`` change it; ``writers.apply_`` reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Plan:
    """Every parameter and tracked statistic of a model exactly once, each with what to do to it."""

    scheme: str
    entries: tuple[Entry, ...]

    @property
    def uncovered(self) -> tuple[Parameter, ...]:
        """The parameters nobody decided about."""
        return tuple(e.parameter for e in self.entries if e.decision is None)

    def map(self, change: Callable[[Entry], Entry]) -> Plan:
        """The plan with ``change`` made to each entry."""
        return replace(self, entries=tuple(change(e) for e in self.entries))
