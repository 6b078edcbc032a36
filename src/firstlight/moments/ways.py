"""The way back along a tape, as far as it has gone: the gradients that have arrived, and how they are handed on.

``backward`` walks it; ``returning`` and ``chained`` hold its rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import prod

from ..graphs.ops import words
from ..graphs.tape import INPUT, PARAMETER, Flow, Ref
from . import adjoints
from .propagate import Propagation
from .signal import Signal

CUTS = words("detach sign round floor ceil trunc argmax argmin bernoulli multinomial")


class Way:
    """What has arrived where.

    Args:
        done: predictions that have run along their whole tape.
    """

    def __init__(self, done: Propagation) -> None:
        """Before the first gradient."""
        self.done, self.tape = done, done.tape
        self.readers = self.tape.readers()
        self.zeros: dict[int, float] = {}
        self.lost: set[int] = set()
        self.arrived: dict[int, dict[int, Signal]] = defaultdict(dict)
        self.shown: dict[int, Signal] = {}  # gradients of calls that those behind them have passed over
        self.by_value: dict[int, Signal | None] = {}  # of a value z, the gradient times z, where all of it is known so
        self._batch = next((n.shape[0] for n in self.tape if n.op == INPUT and n.shape), 1)

    def put(self, node: int, output: int, g: Signal, zeros: float = 0.0, by_value: Signal | None = None) -> None:
        """To a node's output, beside what has arrived there; ``zeros`` the share of its entries that are exactly zero.

        Raises:
            ArithmeticError: it is not finite.
        """
        if not adjoints.is_finite(g):
            raise ArithmeticError("not finite")
        before = self.arrived[node].get(output)
        self.arrived[node][output] = g if before is None else summed(before, g)
        self.zeros[node] = zeros if before is None else self.zeros.get(node, 0.0) * zeros
        known = self.by_value.get(node)
        both = None if by_value is None or (before is not None and known is None) else by_value
        self.by_value[node] = both if both is None or known is None else summed(known, both)

    def give(self, ref: Ref, g: Signal, zeros: float = 0.0, by_value: Signal | None = None) -> None:
        """To what a call read, unless it is fixed or whole numbers."""
        if self.takes(ref):
            self.put(ref.node, ref.output, g, zeros, by_value)

    def takes(self, ref: Ref) -> bool:
        """Whether gradients reach a value: fixed ones and whole numbers have none."""
        return self.tape[ref.node].flow is not Flow.FIXED and self.tape.is_real(ref)

    def lose(self, ref: Ref) -> None:
        """Nothing can be said of what reaches this value."""
        if self.takes(ref) and self.tape[ref.node].op not in CUTS:
            self.lost.add(ref.node)

    def show(self, ref: Ref, g: Signal) -> None:
        """The gradient of a value that has been passed over: known, and not handed on from there."""
        before = self.shown.get(ref.node)
        self.shown[ref.node] = g if before is None else summed(before, g)

    def gathered(self, g: Signal, whole: Sequence[int], shape: Sequence[int]) -> Signal:
        """The sum of a gradient over all that a vector of parameters was handed to."""
        return adjoints.added(g, *self.parted(prod(whole) / max(1, prod(shape))))

    def parted(self, rows: float) -> tuple[float, float]:
        """So many rows as samples, and places of each."""
        return (float(self._batch), rows / self._batch) if rows >= self._batch > 0 else (1.0, rows)

    def copies(self, whole: Sequence[int], part: Sequence[int]) -> tuple[float, float]:
        """To how many samples, and places of each, a value was handed that was broadcast."""
        copies = prod(whole) / max(1, prod(part))
        aligned = (*(1,) * (len(whole) - len(part)), *part)
        return self.parted(copies) if aligned[:1] == (1,) else (1.0, copies)

    def is_lost(self, name: str) -> bool:
        """Whether nothing can be said of a parameter's gradient: some of it came through a call without a rule."""
        return any(self.tape[n].name == name for n in self.lost if self.tape[n].op == PARAMETER)


def summed(a: Signal, b: Signal) -> Signal:
    """Two gradients that reach one value."""
    return a.plain().plus(b.plain())
