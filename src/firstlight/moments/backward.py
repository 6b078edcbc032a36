"""The loss's gradient along a tape, backwards, call by call, from the statistics of weights and values.

``propagate`` has gone forward before; ``probes.predicting`` makes of both what a probe would measure. Mean field: the
squared gradient behind a layer is σ_w² n_out E[φ'(z)²] times that before it (Schoenholz et al. 2017, arXiv 1611.01232),
and a weight's is the sum over samples and positions of E[g²] E[x²].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from ..graphs.ops import ATTENTION, EMBEDDINGS, JOINS, MATMULS, NORMS, VIEWS, words
from ..graphs.tape import PARAMETER, Flow, Node, Operand
from . import adjoints, chained, pooled, returning
from .propagate import Propagation
from .pulling import pulled
from .signal import Signal
from .ways import CUTS, Way, summed

_COPIES = words("expand expand_as repeat repeat_interleave tile broadcast_to broadcast_tensors")


class Backward:
    """The gradients of a tape's nodes and parameters.

    Args:
        done: predictions that have run along their whole tape.
        starts: the gradients that arrive at the tape's outputs: of the loss to each, by node and output.
    """

    def __init__(self, done: Propagation, starts: Mapping[tuple[int, int], Signal]) -> None:
        """The whole way back."""
        self.signals: dict[int, Signal] = {}
        self.weights: dict[str, Signal] = {}
        self.fallbacks: dict[int, str] = {}
        self._way = Way(done)
        for (place, output), g in starts.items():
            if adjoints.is_finite(g):
                self._way.put(place, output, g)
            else:
                self._way.lost.add(place)
        for node in reversed(done.tape.nodes):
            self._step(node)

    def zeros(self, node: int) -> float:
        """The share of a gradient's entries that are exactly zero."""
        return self._way.zeros.get(node, 0.0)

    def is_lost(self, node: int) -> bool:
        """Whether nothing can be said of a gradient: some of it came through a call that could not be followed."""
        return node in self._way.lost

    def is_weight_lost(self, name: str) -> bool:
        """The same of a parameter's."""
        return self._way.is_lost(name)

    def _step(self, node: Node) -> None:
        arrived, shown = self._way.arrived.pop(node.id, {}), self._way.shown.pop(node.id, None)
        if node.id in self._way.lost:
            for operand in node.operands:
                self._way.lose(operand.ref)
            return
        if not arrived and shown is None:
            return
        g = _over_outputs(node, arrived)
        if g is None and arrived:
            g = next(iter(arrived.values())) if node.op not in VIEWS else None
        total = g if shown is None else shown if g is None else summed(g, shown)
        if total is not None:
            self.signals[node.id] = total
        if node.op == PARAMETER and total is not None:
            self.weights[node.name] = total
        if node.is_source or node.op in CUTS:
            return
        try:
            if shown is not None:
                self._show_before(node, shown)
            if g is not None:
                self._back(node, g, arrived)
        except ArithmeticError as error:
            self.fallbacks[node.id] = str(error)
            for operand in node.operands:
                self._way.lose(operand.ref)

    def _back(self, node: Node, g: Signal, arrived: Mapping[int, Signal]) -> None:
        data = [o for o in node.operands if self._way.tape[o.ref.node].flow is Flow.DATA]
        if node.op in VIEWS | EMBEDDINGS and (len(data) < 2 or node.op == "stack"):
            self._view(node, g)
        elif (
            set(arrived) - {0}
            or node.flow is Flow.WEIGHTS
            or node.id in self._way.done.fallbacks
            or not self._by_rule(node, g, data)
        ):
            self._sampled(node, arrived)

    def _by_rule(self, node: Node, g: Signal, data: list[Operand]) -> bool:
        """Whether there is a rule for this kind of call; then it has been followed."""
        if not data or node.op in VIEWS:
            return False
        if node.op == "multi_head_attention_forward":
            return returning.fused(self._way, node, g)
        if returning.mapped(self._way, node, g, data):
            return True
        if node.op in NORMS:
            return returning.norm(self._way, node, g, data[0].ref)
        if node.op in ATTENTION:
            return returning.attention(self._way, node, g)
        x, out = self._way.done.of(data[0].ref), self._way.done.signals[node.id]
        if node.op == "softmax":
            if out.weights is None:
                return False
            self._way.give(
                data[0].ref, adjoints.to_logits(g, self._way.done.focus(node, x).slope, self._way.done.keys(node))
            )
            return True
        if node.op in MATMULS:
            return len(data) == 2 and returning.product(self._way, node, g, data)
        if node.op in JOINS:
            for operand in node.operands:
                self._way.give(operand.ref, g)
            return True
        if node.op in pooled.AVERAGES:
            return returning.average(self._way, node, g, data[0].ref)
        if node.op in pooled.MAXIMA:
            return chained.maximum(self._way, node, g, data[0].ref)
        if out.function is not None and out.root is not None:
            chained.function(self._way, node, g, data)
            chained.to_constants(self._way, node, g, x)
            return True
        return returning.independent(self._way, node, g, data)

    def _view(self, node: Node, g: Signal, *, shown: bool = False) -> None:
        """The same gradient in another form: spread thin where a part was taken, added up where copies were."""
        refs = [o.ref for o in node.operands if self._way.takes(o.ref)]
        for ref in refs:
            ratio = prod(node.shape) * (1 if len(node.shapes) < 2 else len(node.shapes)) / max(1, prod(ref.shape))
            if node.op == "stack":
                ratio = 1.0
            handed = adjoints.thinned(g, ratio) if ratio < 1 else g
            if ratio > 1 and node.op != "pad":
                samples, positions = self._way.copies(node.shape, ref.shape) if node.op in _COPIES else (1.0, ratio)
                handed = adjoints.added(g if node.op in _COPIES else replace(g, local=0.0), samples, positions)
            if shown:
                self._way.show(ref, handed)
            else:
                by_value = self._way.by_value.get(node.id) if ratio == 1 else None
                self._way.give(ref, handed, 1 - (1 - self._way.zeros.get(node.id, 0.0)) * min(ratio, 1.0), by_value)

    def _show_before(self, node: Node, shown: Signal) -> None:
        data = [o for o in node.operands if self._way.tape[o.ref.node].flow is Flow.DATA]
        if node.op in VIEWS:
            self._view(node, shown, shown=True)
        elif self._way.done.signals[node.id].function is not None:
            chained.show_operands(self._way, node, shown, data)

    def _sampled(self, node: Node, arrived: Mapping[int, Signal]) -> None:
        """By differentiating the call on drawn values."""
        for operand, gradient in pulled(self._way.tape, node, arrived, self._way.done.of, self._way.done.known_value):
            if gradient is not None:
                self._way.give(operand.ref, gradient)
        self.fallbacks[node.id] = f"{node.op}: sampled"


def _over_outputs(node: Node, arrived: Mapping[int, Signal]) -> Signal | None:
    """The gradient over all outputs of a split side by side; of any other call, that to its first."""
    if not arrived:
        return None
    if len(node.shapes) < 2 or node.op not in VIEWS:
        return arrived.get(0)
    sizes = {i: float(prod(shape)) for i, shape in enumerate(node.shapes)}
    whole = sum(sizes.values())
    parts = [adjoints.thinned(g, sizes.get(i, 0.0) / whole) for i, g in arrived.items()]
    found = parts[0]
    for part in parts[1:]:
        found = summed(found, part)
    return found
