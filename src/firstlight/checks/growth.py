"""Growth that is no single weight's: streams that residual branches add to, sums over neighbours.

``signal`` asks it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from ..initializers import Normal
from ..probes.records import Kind, Place
from .looking import Look, gradient_norm, rms, segments, where_of
from .records import Evidence, Finding, Severity
from .repairs import replanned

FAR, LOST = 1e3, 1e6  # amplitude over the depth: a warning, an error
JOINS, GROWTH = 4, 1.5  # joins of a stream, and its second moment's factor from one to the next


def over_joins(look: Look, joins: Sequence[Place]) -> float:
    """Forward × backward over a stream that grows from join to join; 0 for one that does not, or that norms part."""
    one = any(all(join in piece for join in joins) for piece in segments(look.trunk))
    if len(joins) < JOINS or not one or not rms(joins[0]) or growth(joins) <= GROWTH:
        return 0.0
    ahead, behind = gradient_norm(joins[0]), gradient_norm(joins[-1])
    return rms(joins[-1]) / rms(joins[0]) * ahead / behind if ahead and behind else 0.0


def growth(joins: Sequence[Place]) -> float:
    """The second moment's factor from join to join."""
    return float((rms(joins[-1]) / rms(joins[0])) ** (2 / (len(joins) - 1)))


def residual(look: Look, joins: Sequence[Place], factor: float, both: float | None = None) -> Finding:
    """The finding: every branch adds as much as its stream has."""
    closing = [w.name for w in look.light.weights if w.branch is not None]
    n = len(joins)
    return Finding(
        "residual-growth",
        Severity.ERROR if factor > LOST else Severity.WARNING,
        where_of(look.loudest_before(joins[0])),
        joins[0].position,
        (
            Evidence(
                "stream's second moment, factor a block", growth(joins), GROWTH, 1.0, "2 for branches of unit gain"
            ),
            Evidence("rms at the last join / at the start", factor, FAR, math.exp(0.5), "branches scaled by 1/√N: √e")
            if both is None
            else Evidence("forward × backward over the depth", both, FAR, math.e, "branches scaled by 1/√N: e"),
        ),
        f"{n} branches as large as their stream are added to it, and nothing normalizes it",
        f"scale the last weight of each branch by 1/√{n} (or start it at zero), or normalize before each branch",
        replanned(look.light, closing),
    )


def aside(look: Look, start: Place, end: Place) -> list[Place]:
    """The weights between two places, on the trunk or off it, where none of them runs again."""
    found = [p for p in look.light.of(Kind.WEIGHT) if start.index < p.index <= end.index and rms(p) > 0]
    loops = len({p.weight for p in found}) < len(found) or any(p.calls > 1 for p in found)
    return [] if loops or any(p.kind is Kind.JOIN for p in look.light.places[start.index : end.index]) else found


def levelled(look: Look, path: Sequence[Place]) -> dict[str, Normal]:
    """Weights smaller by what their output is larger than the one before: growth that is none of theirs (sums)."""
    steps = [(before, place, look.weight_of(place)) for before, place in pairwise(path)]
    return {w.name: Normal(std=w.std * rms(a) / rms(b)) for a, b, w in steps if w is not None and w.std > 0}
