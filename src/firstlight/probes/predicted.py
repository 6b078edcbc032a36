"""Prediction beside measurement: what a plan's statistics give along the traced graph, and what a probe found there."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ArgumentError
from ..graphs import Tape
from ..moments import Propagation, Signal, planned
from ..plans import Plan
from ..reports.text import counted, table
from .parts import Kind, Place

if TYPE_CHECKING:
    from .records import Light


@dataclass(frozen=True, slots=True)
class Pair:
    """One place: E[x²] as predicted and as measured, and whether the prediction follows from theory alone."""

    place: Place
    predicted: float
    measured: float
    known: bool

    @property
    def ratio(self) -> float:
        """Measured / predicted."""
        return self.measured / self.predicted if self.predicted > 0 else math.inf if self.measured > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Against:
    """A plan's prediction beside a probe's measurement, at every weight's output.

    Args:
        scheme: the plan's.
        pairs: in execution order.
    """

    scheme: str
    pairs: tuple[Pair, ...]

    @property
    def error(self) -> float:
        """The median of |measured / predicted − 1| of the root mean square; NaN without a place."""
        errors = [abs(math.sqrt(p.ratio) - 1) for p in self.pairs if math.isfinite(p.ratio)]
        return statistics.median(errors) if errors else math.nan

    @property
    def worst(self) -> Pair | None:
        """The place that is furthest off."""
        return max(self.pairs, key=lambda p: abs(math.log(max(p.ratio, 1e-300))), default=None)

    def __str__(self) -> str:
        header = ("place", "predicted E[x²]", "measured", "measured / predicted")
        rows = [
            (
                p.place.label,
                f"{p.predicted:.4g}" + ("" if p.known else " (sampled)"),
                f"{p.measured:.4g}",
                f"{p.ratio:.3g}",
            )
            for p in self.pairs
        ]
        below = (
            f"{counted(len(self.pairs), 'weight')} of the plan {self.scheme}: median error of the rms {self.error:.1%}"
        )
        return f"{table(header, rows)}\n{below}"


def against(light: Light, plan: Plan) -> Against:
    """What a plan predicts for each weight's output beside what was measured; see ``Light.against``."""
    tape = None if light.graph is None else light.graph.tape
    if tape is None:
        raise ArgumentError(
            "this record has no traced graph to predict along: the model could not be traced, or the record was read "
            "from JSON. Probe the model again"
        )
    names, own = {e.parameter.name for e in plan.entries}, {w.name for w in light.weights}
    if not own <= names:
        lost = sorted(own - names)[0]
        raise ArgumentError(f"the plan has no {lost!r}, which the probed model has: give the plan of that model")
    signals = propagated(tape, planned(plan.entries, tape)).signals
    pairs = [
        Pair(p, signals[p.node].second, p.forward.second, signals[p.node].known)
        for p in light.places
        if p.kind is Kind.WEIGHT and p.node is not None and p.forward is not None and p.node in signals
    ]
    return Against(plan.scheme, tuple(pairs))


def propagated(tape: Tape, weights: Mapping[str, Signal]) -> Propagation:
    """The signals at all nodes of a tape, from the statistics of its parameters."""
    prediction = Propagation(tape, weights)
    for _ in prediction.run():
        pass
    return prediction
