"""What a weight that runs again and again does to the signal from its first turn to its last: recurrences, iterations.

A recurrent map of spectral radius r multiplies by r a turn, the gradient likewise on its way back (Pascanu et al. 2013,
arXiv 1211.5063). The trunk holds such a loop as one step; here its two ends are set beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..initializers import Orthogonal
from ..probes.records import Backward, Forward, Kind, Place
from .cures import described
from .growth import FAR, LOST
from .looking import Look, rms
from .records import Evidence, Finding, Severity
from .repairs import overridden

_TURNS = 4  # from which a call is a loop
_PASCANU = "spectral radius 1: Pascanu et al. 2013, arXiv 1211.5063"


@dataclass(frozen=True, slots=True)
class _Loop:
    """A weight's first and last turn, and how many there are."""

    place: Place
    turns: int
    first: Forward
    last: Forward
    first_back: Backward | None
    last_back: Backward | None


def rules(look: Look) -> Iterator[Finding]:
    """Findings about loops."""
    if look.light.origin is not None and look.light.origin.value != "inf":
        return
    loops = list(_loops(look))
    yield from _forward(look, loops)
    if look.light.origin is None:
        yield from _backward(look, loops)


def _loops(look: Look) -> Iterator[_Loop]:
    """Every weight that runs four times or more: as one place with many calls, or as many places."""
    seen: dict[str, list[Place]] = {}
    for place in look.light.of(Kind.WEIGHT):
        if place.weight:
            seen.setdefault(place.weight, []).append(place)
    for places in seen.values():
        start, end = places[0], places[-1]
        last = end.last_forward or end.forward
        turns = sum(p.calls for p in places)
        if turns >= _TURNS and start.forward is not None and last is not None and start.shape == end.shape:
            yield _Loop(start, turns, start.forward, last, start.backward, end.last_backward or end.backward)


def _forward(look: Look, loops: list[_Loop]) -> Iterator[Finding]:
    """A loop whose values grow: bounds as along the depth, 10³ (warning) and 10⁶ (error).

    The first turn may start from a state of zeros, so that the inputs' size counts where it is larger.
    """
    found = []
    entering = max((rms(p) for p in look.light.of(Kind.INPUT)), default=0.0)
    for loop in loops:
        start = max(math.sqrt(loop.first.second), entering)
        if start <= 0:
            continue
        factor = math.sqrt(loop.last.second) / start
        if factor > FAR or not math.isfinite(factor):
            found.append((loop, factor))
    yield from _worst(look, found, "exploding-forward", "rms at the last turn / at the first")


def _backward(look: Look, loops: list[_Loop]) -> Iterator[Finding]:
    """A loop whose gradient grows on its way back to the first turn; that it shrinks is a recurrence's forgetting."""
    found = []
    for loop in loops:
        if loop.first_back is None or loop.last_back is None or loop.last_back.squared_norm <= 0:
            continue
        factor = math.sqrt(loop.first_back.squared_norm / loop.last_back.squared_norm)
        if factor > FAR:
            found.append((loop, factor))
    yield from _worst(look, found, "exploding-gradient", "gradient's norm at the first turn / at the last")


def _worst(look: Look, found: list[tuple[_Loop, float]], code: str, quantity: str) -> Iterator[Finding]:
    """The finding for the loop of the largest gain: the others are fed by it."""
    if found:
        loop, factor = max(found, key=lambda pair: look.gain_of(pair[0].place))
        yield _finding(look, loop, code, factor, quantity)


def _finding(look: Look, loop: _Loop, code: str, factor: float, quantity: str) -> Finding:
    weight = look.weight_of(loop.place)
    rate = factor ** (1 / max(loop.turns - 1, 1))
    return Finding(
        code,
        Severity.ERROR if factor > LOST or not math.isfinite(factor) else Severity.WARNING,
        loop.place.weight,
        loop.place.position,
        (
            Evidence(quantity, factor, FAR, 1.0, _PASCANU),
            Evidence("factor a turn", rate, FAR ** (1 / max(loop.turns - 1, 1)), 1.0, _PASCANU),
        ),
        f"{loop.place.weight} runs {loop.turns} times, and each turn multiplies: {described(weight)}",
        "draw it orthogonal with gain 1 or less: torch.nn.init.orthogonal_, or the identity before a ReLU",
        overridden(look.light, {loop.place.weight: Orthogonal()}, "a recurrent map of spectral radius 1"),
    )
