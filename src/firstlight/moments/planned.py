"""The statistics of parameters by a plan's decisions: what ``Propagation`` starts from."""

from __future__ import annotations

from collections.abc import Iterable

from ..graphs.tape import PARAMETER, Tape
from ..initializers.base import Initializer
from ..initializers.draws import moments
from ..plans import Entry, NormOf
from .signal import Signal, measured


def planned(entries: Iterable[Entry], tape: Tape) -> dict[str, Signal]:
    """The mean and variance that each parameter will have, by name, as the decisions say in theory.

    What is kept has the statistics of what the model held when it was traced.
    """
    held = {n.name: n.value for n in tape if n.op == PARAMETER and n.value is not None}
    found: dict[str, Signal] = {}
    for entry in entries:
        name = entry.parameter.name
        known = _drawn(entry) if isinstance(entry.decision, Initializer) else None
        if known is not None:
            found[name] = known
        elif name in held and not isinstance(entry.decision, NormOf):
            found[name] = measured(held[name].float()).plain()
    return found


def _drawn(entry: Entry) -> Signal | None:
    found = moments(entry.decision.draw(entry.parameter.layout)) if isinstance(entry.decision, Initializer) else None
    return None if found is None else Signal(found[0], found[1] ** 2)
