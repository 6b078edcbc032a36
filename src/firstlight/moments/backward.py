"""The loss's gradient along a tape, backwards, call by call, from the statistics of weights and values.

``propagate`` has gone forward before; ``probes.predicting`` makes of both what a probe would measure. Mean field: the
squared gradient behind a layer is σ_w² n_out E[φ'(z)²] times that before it (Schoenholz et al. 2017, arXiv 1611.01232),
and a weight's is the sum over samples and positions of E[g²] E[x²].
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from ..graphs.ops import ATTENTION, CONVS, EMBEDDINGS, JOINS, MATMULS, NORMS, SUMS, VIEWS, words
from ..graphs.readings import read
from ..graphs.records import Role
from ..graphs.tape import INPUT, PARAMETER, Flow, Node, Operand, Ref
from ..graphs.walks import divided_by_spread, meets_softmax, modulated, spread_count
from . import adjoints, maps, pooled
from .elementwise import called
from .fused import operands, packed
from .normed import divided_by, normed
from .propagate import MAPS, Propagation, origin, same
from .pulling import pulled
from .quadrature import through
from .signal import Function, Signal
from .slopes import partial, slope, sloped

_CUTS = words("detach sign round floor ceil trunc argmax argmin bernoulli multinomial")
_COPIES = words("expand expand_as repeat repeat_interleave tile broadcast_to broadcast_tensors")


class Backward:
    """The gradients of a tape's nodes and parameters.

    Args:
        done: predictions that have run along their whole tape.
        starts: the gradients that arrive at the tape's outputs: of the loss to each, by node and output.
    """

    def __init__(self, done: Propagation, starts: Mapping[tuple[int, int], Signal]) -> None:
        """The whole way back."""
        self.done, self.tape = done, done.tape
        self.signals: dict[int, Signal] = {}
        self.weights: dict[str, Signal] = {}
        self.zeros: dict[int, float] = {}
        self.lost: set[int] = set()
        self.fallbacks: dict[int, str] = {}
        self._readers = self.tape.readers()
        self._batch = next((n.shape[0] for n in self.tape if n.op == INPUT and n.shape), 1)
        self._arrived: dict[int, dict[int, Signal]] = defaultdict(dict)
        self._shown: dict[int, Signal] = {}
        self._by_value: dict[int, Signal | None] = {}  # of a value z, the gradient times z, where all of it is known so
        for (node, output), g in starts.items():
            self._put(node, output, g)
        for node in reversed(self.tape.nodes):
            self._step(node)

    def _step(self, node: Node) -> None:
        arrived, shown = self._arrived.pop(node.id, {}), self._shown.pop(node.id, None)
        if node.id in self.lost:
            for operand in node.operands:
                self._lose(operand.ref)
            return
        if not arrived and shown is None:
            return
        g = _over_outputs(node, arrived)
        total = g if shown is None else shown if g is None else _sum(g, shown)
        if total is not None:
            self.signals[node.id] = total
        if node.op == PARAMETER and total is not None:
            self.weights[node.name] = total
        if node.is_source or node.op in _CUTS:
            return
        try:
            if shown is not None:
                self._show_before(node, shown)
            if g is not None:
                self._back(node, g, arrived)
        except ArithmeticError as error:
            self.fallbacks[node.id] = str(error)
            for operand in node.operands:
                self._lose(operand.ref)

    # ---- what arrives

    def _put(
        self, node: int, output: int, g: Signal, zeros: float = 0.0, by_value: Signal | None = None
    ) -> None:
        if not adjoints.is_finite(g):
            raise ArithmeticError("not finite")
        before = self._arrived[node].get(output)
        self._arrived[node][output] = g if before is None else _sum(before, g)
        self.zeros[node] = zeros if before is None else self.zeros.get(node, 0.0) * zeros
        known = self._by_value.get(node)
        both = None if by_value is None or (before is not None and known is None) else by_value
        self._by_value[node] = both if both is None or known is None else _sum(known, both)

    def _give(self, ref: Ref, g: Signal, zeros: float = 0.0, by_value: Signal | None = None) -> None:
        """To what a call read, unless it is fixed or whole numbers."""
        if self._takes(ref):
            self._put(ref.node, ref.output, g, zeros, by_value)

    def _takes(self, ref: Ref) -> bool:
        source = self.tape[ref.node]
        dtypes = source.dtypes
        return source.flow is not Flow.FIXED and bool(dtypes) and dtypes[min(ref.output, len(dtypes) - 1)].is_floating_point

    def _lose(self, ref: Ref) -> None:
        """Nothing can be said of what reaches this value."""
        if self._takes(ref) and self.tape[ref.node].op not in _CUTS:
            self.lost.add(ref.node)

    # ---- call by call

    def _back(self, node: Node, g: Signal, arrived: Mapping[int, Signal]) -> None:
        data = [o for o in node.operands if self.tape[o.ref.node].flow is Flow.DATA]
        if node.op in VIEWS | EMBEDDINGS and (len(data) < 2 or node.op == "stack"):
            self._view(node, g)
        elif node.flow is Flow.WEIGHTS or node.id in self.done.fallbacks or not self._by_rule(node, g, data):
            self._sampled(node, arrived)

    def _by_rule(self, node: Node, g: Signal, data: list[Operand]) -> bool:
        """Whether there is a rule for this kind of call; then it has been followed."""
        if not data or node.op in VIEWS:
            return False
        if node.op == "multi_head_attention_forward":
            return self._packed(node, g)
        if self._mapped(node, g, data):
            return True
        if node.op in NORMS:
            return self._norm(node, g, data[0].ref)
        if node.op in ATTENTION:
            return self._attention(node, g)
        x, out = self.done.of(data[0].ref), self.done.signals[node.id]
        if node.op == "softmax":
            if out.weights is None:
                return False
            self._give(data[0].ref, adjoints.to_logits(g, self.done.focus(node, x).slope, self.done.keys(node)))
            return True
        if node.op in MATMULS:
            return len(data) == 2 and self._product(node, g, data)
        if node.op in JOINS:
            for operand in node.operands:
                self._give(operand.ref, g)
            return True
        if node.op in pooled.AVERAGES | pooled.MAXIMA:
            return self._pool(node, g, data[0].ref)
        if out.function is not None and out.root is not None:
            self._function(node, g, data)
            self._to_constants(node, g, x)
            return True
        return self._independent(node, g, data)

    def _view(self, node: Node, g: Signal, *, shown: bool = False) -> None:
        """The same gradient in another form: spread thin where a part was taken, added up where copies were."""
        refs = [o.ref for o in node.operands if self._takes(o.ref)]
        for ref in refs:
            ratio = _numel(node.shape) * (1 if len(node.shapes) < 2 else len(node.shapes)) / max(1, _numel(ref.shape))
            if node.op == "stack":
                ratio = 1.0
            handed = adjoints.thinned(g, ratio) if ratio < 1 else g
            if ratio > 1 and node.op != "pad":
                samples, positions = self._copies(node.shape, ref.shape) if node.op in _COPIES else (1.0, ratio)
                handed = adjoints.added(g if node.op in _COPIES else replace(g, local=0.0), samples, positions)
            if shown:
                self._show(ref, handed)
            else:
                by_value = self._by_value.get(node.id) if ratio == 1 else None
                self._give(ref, handed, 1 - (1 - self.zeros.get(node.id, 0.0)) * min(ratio, 1.0), by_value)

    def _mapped(self, node: Node, g: Signal, data: list[Operand]) -> bool:
        if modulated(self.tape, node) is not None:
            return False
        weights = [(o, read(node, o)) for o in node.operands if self.tape[o.ref.node].flow is Flow.WEIGHTS]
        maps = [(o, r) for o, r in weights if r is not None and r.role in MAPS]
        if len(maps) != 1 or len(data) != 1:
            return False
        (weight, reading), x = maps[0], data[0].ref
        fan, _ = self.done.summed(node, reading.fan_in, replace(self.done.of(x), profile=None))
        connections = _numel(node.shape) * fan
        rows = self._parted(connections / max(1, _numel(weight.ref.shape)))
        fans = (fan, connections / max(1, _numel(x.shape)))
        handed = self._through_weight(self.done.of(x), weight.ref, fans, rows, g)
        if node.op in CONVS:
            handed = adjoints.strided(handed, _numel(node.shape[2:]) / max(1, _numel(x.shape[2:])))
        self._give(x, handed)
        for operand, kind in weights:
            if operand is not weight and kind is not None and kind.role is Role.BIAS:
                self._give(operand.ref, self._gathered(g, node.shape, operand.ref.shape))
        return True

    def _through_weight(
        self, x: Signal, weight: Ref, fans: tuple[float, float], rows: tuple[float, float], g: Signal, part: float = 1.0
    ) -> Signal:
        """What the inputs get of a map; the weight, or this part of it, gets the sum over rows of g x.

        ``fans`` are the inputs of an output and the outputs of an input, ``rows`` samples and places of each.
        """
        self._give(weight, adjoints.thinned(adjoints.added(g.times(x.plain()), *rows), part))
        return maps.mapped(g, fans[1], self.done.of(weight))

    def _gathered(self, g: Signal, whole: Sequence[int], shape: Sequence[int]) -> Signal:
        """The sum of a gradient over all that a vector of parameters was handed to."""
        return adjoints.added(g, *self._parted(_numel(whole) / max(1, _numel(shape))))

    def _parted(self, rows: float) -> tuple[float, float]:
        """So many rows as samples, and places of each."""
        return (float(self._batch), rows / self._batch) if rows >= self._batch > 0 else (1.0, rows)

    def _copies(self, whole: Sequence[int], part: Sequence[int]) -> tuple[float, float]:
        """To how many samples, and places of each, a value was handed that was broadcast."""
        copies = _numel(whole) / max(1, _numel(part))
        aligned = (*(1,) * (len(whole) - len(part)), *part)
        return self._parted(copies) if aligned[:1] == (1,) else (1.0, copies)

    def _norm(self, node: Node, g: Signal, ref: Ref) -> bool:
        x = self.done.of(ref).plain()
        normal = normed(node, x, ref.shape)
        for operand in node.operands:
            reading = read(node, operand)
            if reading is not None and reading.role is Role.NORM_SCALE:
                scale, by_value = self.done.of(operand.ref), self._by_value.get(node.id)
                product = g.times(normal.plain())
                if by_value is not None and scale.mean and scale.variance == 0:
                    product = by_value.scaled(1 / scale.mean)  # φ'(z) and z go together
                self._give(operand.ref, self._gathered(product, node.shape, operand.ref.shape))
                g = g.times(same(scale))
            elif reading is not None and reading.role is Role.NORM_SHIFT:
                self._give(operand.ref, self._gathered(g, node.shape, operand.ref.shape))
        square = divided_by(node, x, ref.shape)
        self._give(ref, adjoints.unnormed(node.op, g, square, _size(node, ref.shape), ref.shape))
        return True

    def _attention(self, node: Node, g: Signal) -> bool:
        looked = self.done.attention(node)
        refs = (looked.query, looked.key, looked.value)
        query, key = looked.query.shape, looked.key.shape
        shared = max(1.0, _numel(query) / query[-2] / (_numel(key) / key[-2]))  # queries that share a key's head
        signals = (self.done.of(refs[0]), self.done.of(refs[1]), self.done.of(refs[2]))
        found = adjoints.attended(
            g, signals, looked.focus, looked.allowed, (query[-2], key[-2], query[-1]), looked.scale
        )
        for i, (ref, gradient) in enumerate(zip(refs, found, strict=True)):
            self._give(ref, gradient if i == 0 else adjoints.added(gradient, 1, 1, shared))
        return True

    def _packed(self, node: Node, g: Signal) -> bool:
        """Torch's fused attention with its own projections: out, attention, in. Positions come before samples."""
        inner, refs = packed(node, self.done.of, self.done.known_value), operands(node)
        out, bias = node.tensor("out_proj_weight", 11), node.tensor("out_proj_bias", 12)
        if out is None or any(len(r.shape) < 2 for r in refs):
            return False
        if bias is not None:
            self._give(bias, self._gathered(g, node.shape, bias.shape))
        queries, keys, samples = refs[0].shape[0], refs[1].shape[0], _numel(refs[0].shape[1:-1])
        fans = (float(out.shape[-1]), float(out.shape[0]))
        g = self._through_weight(inner.heads, out, fans, (float(samples), float(queries)), g)
        found = adjoints.attended(
            g, inner.signals, inner.focus, inner.allowed, (queries, keys, inner.width), 1 / math.sqrt(inner.width)
        )
        stacked = inner.weights[0].node == inner.weights[1].node
        bias = node.tensor("in_proj_bias", 6)
        for gradient, ref, weight in zip(found, refs, inner.weights, strict=True):
            made = weight.shape[0] / 3 if stacked else weight.shape[0]
            rows = (float(samples), float(ref.shape[0]))
            part = 1 / 3 if stacked else 1.0
            if bias is not None:
                self._give(bias, adjoints.thinned(adjoints.added(gradient, *rows), 1 / 3))
            self._give(
                ref, self._through_weight(self.done.of(ref), weight, (weight.shape[-1], made), rows, gradient, part)
            )
        return True

    def _product(self, node: Node, g: Signal, data: list[Operand]) -> bool:
        """A product of two values: attention weights with values, queries with keys, or independent ones."""
        (left, right), width = (o.ref for o in data), float(data[0].ref.shape[-1])
        a, b = self.done.of(left), self.done.of(right)
        if a.weights is not None or b.weights is not None:
            weights, value = (left, right) if a.weights is not None else (right, left)
            squares = self.done.of(weights).weights or 1.0
            queries, keys = weights.shape[-2:] if a.weights is not None else weights.shape[:-3:-1]
            made = float(node.shape[-1]) if a.weights is not None else float(node.shape[-2])
            v = self.done.of(value)
            self._give(weights, adjoints.to_weights(g, v, made))
            self._give(value, adjoints.to_values(g, squares, self.done.of(weights).allowed or (keys,), queries, keys))
            return True
        products = _numel(node.shape) * width
        to_left, to_right = (products / max(1, _numel(r.shape)) for r in (left, right))
        if meets_softmax(self._readers, node.id):
            self._give(left, adjoints.to_query(g, b, to_left))
            self._give(right, adjoints.to_key(g, a, to_right))
        else:
            self._give(left, Signal(0.0, to_left * g.second * b.second, known=g.known))
            self._give(right, Signal(0.0, to_right * g.second * a.second, known=g.known))
        return True

    def _pool(self, node: Node, g: Signal, ref: Ref) -> bool:
        before, after = _numel(ref.shape), _numel(node.shape)
        if node.op in pooled.MAXIMA:
            return self._maximum(node, adjoints.chosen(g, min(1.0, after / before)), ref)
        window = pooled.window(node) or before / max(1, after)
        positions = before / max(1, ref.shape[0] * _units(ref.shape))
        reached = window * after / before
        self._give(ref, adjoints.averaged(g, window, reached, positions, summed=node.op == "sum"))
        return True

    def _maximum(self, node: Node, g: Signal, ref: Ref) -> bool:
        """The largest of some φ(z) passes its gradient on through its own slope, not the mean one."""
        x = self.done.of(ref)
        place, output = (ref.node, ref.output) if x.root is None else origin(x.root)
        if x.function is None or x.root is None or place in self.lost:
            self._give(ref, g)
            return True
        slopes = pooled.slope_at_maximum(node, self.done.signals[x.root], slope(x.function), x.function, ref)
        self._show(ref, g)
        self._put(place, output, adjoints.sloped(g, slopes))
        return True

    # ---- functions of single values

    def _function(self, node: Node, g: Signal, data: list[Operand]) -> None:
        """Straight to the Gaussian value that this is a function of; calls between are only shown theirs."""
        out = self.done.signals[node.id]
        if out.function is None or out.root is None:
            return
        place, output = origin(out.root)
        root, inner = self.done.signals[out.root], slope(out.function)
        derivative, flat = sloped(inner, root)
        by_value = g.times(through(lambda z: inner(z) * z, root, jumps=True))
        whole = self.tape[place].shapes[output] if output < len(self.tape[place].shapes) else self.tape[place].shape
        handed = adjoints.sloped(g, derivative)
        if _numel(node.shape) > _numel(whole):
            handed, by_value = (adjoints.added(s, *self._copies(node.shape, whole)) for s in (handed, by_value))
        if self.tape[place].flow is not Flow.FIXED and place not in self.lost:
            self._put(place, output, handed, flat, by_value)
        self._show_operands(node, g, data)

    def _show_before(self, node: Node, shown: Signal) -> None:
        data = [o for o in node.operands if self.tape[o.ref.node].flow is Flow.DATA]
        if node.op in VIEWS:
            self._view(node, shown, shown=True)
        elif self.done.signals[node.id].function is not None:
            self._show_operands(node, shown, data)

    def _show_operands(self, node: Node, g: Signal, data: list[Operand]) -> None:
        out = self.done.signals[node.id]
        inner: list[Function] = []
        for operand in data:
            signal = self.done.of(operand.ref)
            inner.append(signal.function or (lambda z: z))
        for i, operand in enumerate(data):
            signal = self.done.of(operand.ref)
            if signal.function is None or signal.root != out.root or out.root is None:
                continue
            derivative, _ = sloped(partial(self._call(node, data), inner, i), self.done.signals[out.root])
            self._show(operand.ref, g.times(derivative))

    def _call(self, node: Node, data: list[Operand]) -> Callable[[Sequence[torch.Tensor]], torch.Tensor]:
        """The call as a function of its data, constants at their means."""
        fixed = {
            o.ref.node: torch.full((1,), self.done.of(o.ref).mean, dtype=torch.float64)
            for o in node.operands
            if o not in data
        }
        return lambda values: called(
            node, fixed, {(o.slot, o.index): v for o, v in zip(data, values, strict=True)}
        )

    def _show(self, ref: Ref, g: Signal) -> None:
        before = self._shown.get(ref.node)
        self._shown[ref.node] = g if before is None else _sum(before, g)

    def _to_constants(self, node: Node, g: Signal, x: Signal) -> None:
        """Parameters that were added to a value or multiplied with it; of others nothing is said."""
        for operand in node.operands:
            if self.tape[operand.ref.node].flow is Flow.WEIGHTS:
                if node.op in SUMS:
                    self._give(operand.ref, self._gathered(g, node.shape, operand.ref.shape))
                elif node.op == "mul":
                    self._give(operand.ref, self._gathered(g.times(x.plain()), node.shape, operand.ref.shape))
                else:
                    self._lose(operand.ref)

    def _independent(self, node: Node, g: Signal, data: list[Operand]) -> bool:
        """A sum, product or quotient of values that know nothing of each other."""
        if node.op not in (*SUMS, "mul", "div") or len(node.operands) != 2:
            return False
        spread = divided_by_spread(self.tape, node)
        if spread is not None and len(data) == 2:
            return self._written_norm(node, g, spread, data)
        first, second = node.operands
        for operand, other in ((first, second), (second, first)):
            if not self._takes(operand.ref):
                continue
            beside = self._beside(other, operand)
            if node.op in SUMS:
                handed = g
            elif node.op == "mul":
                handed = g.times(beside)
            elif operand is first:
                handed = g.scaled(1 / beside.mean)
            else:
                handed = g.times(beside.plain()).scaled(1 / self.done.of(operand.ref).mean ** 2)
            samples, positions = self._copies(node.shape, operand.ref.shape)
            whole = self.done.signals[node.id]
            own = None
            if node.op in SUMS and samples == positions == 1 and (by_value := self._by_value.get(node.id)) is not None:
                own = adjoints.shared_out(by_value, g, self.done.of(operand.ref), whole)
            self._give(operand.ref, adjoints.added(handed, samples, positions), by_value=own)
        return True

    def _beside(self, other: Operand, operand: Operand) -> Signal:
        return self.done.other(other, operand.ref.shape).plain()

    def _written_norm(self, node: Node, g: Signal, spread: int, data: list[Operand]) -> bool:
        """x · rsqrt(mean x²): as an RMS norm; its spread is no way of its own."""
        value = next((o.ref for o in data if o.ref.node == spread), None)
        other = next((i for i in (o.ref.node for o in data) if i != spread), spread)
        x = self.done.of(Ref(spread))
        if value is None or not x.second > 0:
            return False
        count = spread_count(self.tape, spread, other)
        size = _numel(value.shape) / max(1, _numel(self.tape[other].shape))
        self._give(value, adjoints.unnormed("rms_norm", g, x.second * count, size, value.shape))
        return True

    def _sampled(self, node: Node, arrived: Mapping[int, Signal]) -> None:
        """By differentiating the call on drawn values."""
        for operand, gradient in pulled(self.tape, node, arrived, self.done.of, self.done.known_value):
            if gradient is not None:
                self._give(operand.ref, gradient)
        self.fallbacks[node.id] = f"{node.op}: sampled"


def _over_outputs(node: Node, arrived: Mapping[int, Signal]) -> Signal | None:
    """The gradient over all outputs of a split side by side; of any other call, that to its first."""
    if not arrived:
        return None
    if len(node.shapes) < 2 or node.op not in VIEWS:
        return arrived.get(0)
    sizes = {i: float(_numel(shape)) for i, shape in enumerate(node.shapes)}
    whole = sum(sizes.values())
    parts = [adjoints.thinned(g, sizes.get(i, 0.0) / whole) for i, g in arrived.items()]
    found = parts[0]
    for part in parts[1:]:
        found = _sum(found, part)
    return found


def _sum(a: Signal, b: Signal) -> Signal:
    return a.plain().plus(b.plain())


def _numel(shape: Sequence[int]) -> int:
    return math.prod(shape)


def _units(shape: Sequence[int]) -> int:
    return shape[1] if len(shape) >= 4 else shape[-1] if shape else 1


def _size(node: Node, shape: Sequence[int]) -> float:
    """Over how many values a norm takes its mean."""
    positions = _numel(shape[2:]) if len(shape) > 2 else 1
    if node.op == "batch_norm":
        return float(shape[0] * positions)
    if node.op == "instance_norm":
        return float(positions)
    if node.op == "group_norm":
        groups = node.argument("num_groups", 1, 1)
        return _numel(shape[1:]) / (groups if isinstance(groups, int) else 1)
    over = node.argument("normalized_shape", 1)
    sizes = [n for n in over if isinstance(n, int)] if isinstance(over, Sequence) else [shape[-1]]
    return float(_numel(sizes))
