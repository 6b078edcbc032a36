"""The signal along a tape, call by call, from the statistics of weights and inputs; no data and no weights are needed.

``schemes.auto`` decides weights as it goes; ``benchmarks/moments.py`` holds the predictions against real runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..graphs.ops import (
    ATTENTION,
    CONVS,
    EMBEDDINGS,
    JOINS,
    MATMULS,
    NORMS,
    PRODUCTS,
    RECURRENT,
    TRANSPOSED_CONVS,
    VIEWS,
)
from ..graphs.readings import read
from ..graphs.records import Role
from ..graphs.tape import INPUT, PARAMETER, Flow, Node, Operand, Ref, Tape
from ..graphs.walks import divided_by_spread, is_weight_call, modulated, spread_count
from . import attended as attention
from . import maps, pooled
from .attended import Attention, Focus
from .elementwise import joined, one_value, together, with_constant
from .exact import Exact
from .fused import fused_attention, packed
from .normed import normed
from .recurrent import recurrent
from .sampling import Sampler, Weight
from .signal import Signal, measured, mixed

_UNKNOWN = Signal(0.0, 1.0, known=False)
_SCAN = 6  # products one behind another; attention with rotations and gates has four
MAPS = (Role.LINEAR, Role.CONV, Role.CONV_TRANSPOSED, Role.BILINEAR)


class Propagation:
    """The signals of a tape's nodes, as far as it has gone.

    Args:
        tape: what a forward did.
        weights: the mean and variance of each parameter, by name; may be changed before the call that uses them.
        draw: a parameter's values for a seed, or ``None``, for calls that have to be sampled.
    """

    def __init__(self, tape: Tape, weights: Mapping[str, Signal], draw: Weight | None = None) -> None:
        """Before the first node."""
        self.tape = tape
        self.weights = dict(weights)
        self.signals: dict[int, Signal] = {}
        self.fallbacks: dict[int, str] = {}
        self.entropies: dict[int, float] = {}  # H / log T of attention and of softmaxes
        self._known = Exact(tape)
        self._products: dict[int, int] = {}
        self.known_value = self._known.value
        self._sampler = Sampler(tape, self.of, self.known_value, draw)

    def run(self) -> Iterator[Node]:
        """Every node in order, each after its signal is known."""
        for node in self.tape:
            self.step(node)
            yield node

    def step(self, node: Node) -> Signal:
        """The signal of one node, from those before it."""
        if node.op == INPUT or node.flow is Flow.FIXED:
            found = _real(node)
        elif node.flow is Flow.WEIGHTS:
            found = self.weight(node.id)
        elif (value := self._known.computed(node)) is not None:
            found = measured(value.float()).rooted(node.id, None)
        else:
            found = self._call(node)
        if not all(map(math.isfinite, (found.mean, found.variance, found.shared, found.local))):
            if node.flow is Flow.DATA:
                self.fallbacks[node.id] = f"{node.op}: not finite"
            found = _UNKNOWN
        self.signals[node.id] = found
        if node.flow is Flow.DATA and node.op in VIEWS and len(node.shapes) > 1:
            # The parts of a split are different units: no function of one is a function of another.
            for output in range(len(node.shapes)):
                place = _part(node.id, output)
                self.signals[place] = found.plain().rooted(place, None)
        return found

    def of(self, ref: Ref) -> Signal:
        """The signal a call reads."""
        if self.tape[ref.node].flow is Flow.WEIGHTS:
            return self.weight(ref.node)
        part = self.signals.get(_part(ref.node, ref.output))
        return part if part is not None else self.signals.get(ref.node, _UNKNOWN)

    def weight(self, place: int) -> Signal:
        """The statistics of a parameter, or of what is computed of parameters alone."""
        node = self.tape[place]
        if node.op == PARAMETER:
            return self.weights.get(node.name, _UNKNOWN)
        if node.flow is Flow.FIXED:
            return _real(node)
        made_of = [o.ref for o in node.operands if self.tape[o.ref.node].flow is Flow.WEIGHTS]
        if node.op in VIEWS or node.op == "_weight_norm":
            return self.weight(made_of[0].node)
        if node.op in EMBEDDINGS:
            return self._looked_up(node)
        try:
            # Drawn anew each time: a weight may have been changed since.
            weights = Sampler(self.tape, lambda r: self.weight(r.node), self.known_value)
            return replace(weights.sampled(node), known=True)
        except ArithmeticError as error:
            self.fallbacks[place] = str(error)
            return self.weight(made_of[0].node).plain()

    def _call(self, node: Node) -> Signal:
        data = [o for o in node.operands if self.tape[o.ref.node].flow is Flow.DATA]
        if not data:
            return _UNKNOWN
        try:
            found = None if self._is_scan(node, len(data)) else self._by_rule(node, data)
        except ArithmeticError:
            found = None
        if found is not None:
            x = self.of(data[0].ref)
            if found.profile is None and x.profile is not None:
                found = replace(found, profile=maps.resampled(x.profile, data[0].ref.shape, node.shape))
            return found if found.root is not None else found.rooted(node.id, None)
        try:
            found = self._sampler.sampled(node)
            self.fallbacks[node.id] = f"{node.op}: sampled"
        except ArithmeticError as error:
            self.fallbacks[node.id] = str(error)
            found = replace(self.of(data[0].ref).plain(), known=False)
        return found.rooted(node.id, None)

    def _is_scan(self, node: Node, operands: int) -> bool:
        """Whether a value is a product of products, and so on, since the last weights and norms, as a scan's are.

        Rules take the factors of a product as independent; after many this no longer holds.
        """
        ends = is_weight_call(self.tape, node) or node.op in NORMS or divided_by_spread(self.tape, node) is not None
        before = 0 if ends else max((self._products.get(i, 0) for i in node.inputs), default=0)
        own = operands > 1 and node.op in MATMULS and self._is_gram(node)
        self._products[node.id] = (
            _SCAN + 1 if own else before + (not ends and operands > 1 and node.op in PRODUCTS | MATMULS)
        )
        return self._products[node.id] > _SCAN

    def _is_gram(self, node: Node) -> bool:
        """Whether a product is of a value with itself: its diagonal is another matter than the rest."""
        sources = set()
        for operand in node.operands:
            ref = operand.ref
            while self.tape[ref.node].op in VIEWS and len(self.tape[ref.node].shapes) == 1:
                before = self.tape[ref.node].operands[0].ref
                if math.prod(before.shape) != math.prod(ref.shape):
                    break
                ref = before
            sources.add((ref.node, ref.output))
        return len(sources) == 1

    def _by_rule(self, node: Node, data: list[Operand]) -> Signal | None:
        """The signal by the rule for this kind of call; ``None`` where there is none."""
        x = self.of(data[0].ref)
        op = node.op
        if op in VIEWS and not (op in ("where", "stack") and len(data) > 1):
            return self._view(node, x, data[0])
        if op in EMBEDDINGS:
            return self._looked_up(node)
        if op in RECURRENT:
            return recurrent(node, self.of)
        if op == "multi_head_attention_forward":
            self.entropies[node.id] = packed(node, self.of, self.known_value).focus.entropy
            return fused_attention(node, self.of, self.known_value)
        mapped = self._mapped(node, x, data)
        if mapped is not None:
            return mapped
        if op in NORMS:
            return self._scaled_norm(node, x, data[0].ref)
        if op in ATTENTION:
            return self._attention(node)
        if op == "softmax":
            return self._softmax(node, x)
        if op in MATMULS and len(data) == 2:
            return self._product(node, data)
        if op in JOINS:
            return self._cat(node)
        if op in pooled.AVERAGES:
            return pooled.averaged(node, x, data[0].ref)
        if op in pooled.MAXIMA:
            root = self.signals.get(x.root, x) if x.root is not None else x
            return pooled.maximum(node, x, root, x.function, data[0].ref)
        return self._elementwise(node, data)

    def _view(self, node: Node, x: Signal, operand: Operand) -> Signal:
        if x.weights is not None:  # attention's weights, in a band or with zeros beside them, still add up to one
            return x
        before, after = math.prod(operand.ref.shape), math.prod(node.shape)
        if node.op == "pad" and before and after > before and node.argument("mode", 2, "constant") == "constant":
            return mixed([x.plain(), Signal()], [before, after - before])
        if node.op in ("masked_fill", "where"):
            mask = next((self.known_value(o.ref) for o in node.operands if o != operand), None)
            counts = attention.masked(None if mask is None else ~mask.bool(), node.shape[-1]) if node.shape else None
            if x.logits is not None or counts is not None:
                return replace(x, allowed=counts or attention.causal(node.shape[-2], node.shape[-1]))
        if after < before or node.op in ("roll", "flip"):  # other units, or other places
            return replace(x, root=None, function=None)
        return x

    def _mapped(self, node: Node, x: Signal, data: list[Operand]) -> Signal | None:
        """Behind a linear map, with its bias; ``None`` where the call is none."""
        own = modulated(self.tape, node) is not None  # each sample has its own weight, of one signal
        weights = [
            (o, read(node, o))
            for o in node.operands
            if self.tape[o.ref.node].flow is Flow.WEIGHTS or (own and o.slot in (1, "weight"))
        ]
        maps_ = [(o, r) for o, r in weights if r is not None and r.role in MAPS]
        if len(maps_) != 1:
            return None
        operand, reading = maps_[0]
        weight = self.of(operand.ref)
        if reading.role is Role.BILINEAR:
            out = maps.mapped(x.plain().times(self.of(data[-1].ref).plain()), reading.fan_in, weight)
        else:
            fan, profile = self.summed(node, reading.fan_in, x)
            out = replace(maps.mapped(x, fan, weight, centred=self._is_centred(operand.ref)), profile=profile)
            if node.op in TRANSPOSED_CONVS:  # outputs that lie differently to the stride are made by other weights
                before, after = (math.prod(shape[2:]) for shape in (data[0].ref.shape, node.shape))
                out = replace(out, local=out.local * min(1.0, before / max(1, after)))
        for o, r in weights:
            if o is not operand and r is not None and r.role is Role.BIAS:
                out = replace(maps.with_bias(out, self.of(o.ref)), profile=out.profile)
        return out

    def summed(self, node: Node, fan_in: float, x: Signal) -> tuple[float, maps.Profile | None]:
        """How many inputs an output really sums, and how that varies over a picture."""
        if node.op in CONVS:
            return maps.conv_fan_in(node, x.profile)
        if node.op in TRANSPOSED_CONVS:
            return maps.transposed_fan_in(node, x.profile)
        return fan_in, None

    def _is_centred(self, ref: Ref) -> bool:
        """Whether a unit's weights sum to zero: a mean was taken from them (weight standardization)."""
        node = self.tape[ref.node]
        while node.op != PARAMETER and node.inputs:
            if node.op in ("batch_norm", "instance_norm", "layer_norm", "var_mean") or (
                node.op == "sub" and any(self.tape[i].op in ("mean", "var_mean") for i in node.inputs)
            ):
                return True
            node = self.tape[node.inputs[0]]
        return False

    def _looked_up(self, node: Node) -> Signal:
        table = next((o.ref for o in node.operands if self.tape[o.ref.node].flow is Flow.WEIGHTS), None)
        ids = next((o.ref for o in node.operands if table is None or o.ref.node != table.node), None)
        if table is None or ids is None:
            return _UNKNOWN
        weight = self.weight(table.node)
        if self.tape[ids.node].flow is not Flow.DATA:  # the same rows for every sample
            value = self.known_value(ids)
            same = value is not None and bool((value == value.flatten()[:1]).all())
            return Signal(weight.mean, weight.variance, weight.variance, weight.variance if same else 0.0)
        row = maps.looked_up(weight, ids, self.known_value(ids))
        return maps.bagged(node, row, ids) if node.op == "embedding_bag" else row

    def _scaled_norm(self, node: Node, x: Signal, ref: Ref) -> Signal:
        out = normed(node, x.plain(), ref.shape)
        for operand in node.operands:
            reading = read(node, operand)
            if reading is not None and reading.role is Role.NORM_SCALE:
                out = out.times(same(self.of(operand.ref)))
            elif reading is not None and reading.role is Role.NORM_SHIFT:
                out = maps.with_bias(out, self.of(operand.ref))
        return out

    def _attention(self, node: Node) -> Signal:
        looked = self.attention(node)
        self.entropies[node.id] = looked.focus.entropy
        return attention.attended(self.of(looked.value), looked.focus.squares, looked.allowed)

    def attention(self, node: Node) -> Attention:
        """What a fused attention reads, and how concentrated its weights are.

        Raises:
            ArithmeticError: it is called without query, key or value.
        """
        refs = [node.tensor(n, i) for i, n in enumerate(("query", "key", "value"))]
        if any(r is None for r in refs):
            raise ArithmeticError("an attention without query, key and value")
        query, key, value = (r for r in refs if r is not None)
        scale = node.argument("scale", 6)
        width, queries, keys = query.shape[-1], query.shape[-2], key.shape[-2]
        factor = scale if isinstance(scale, float) else 1 / math.sqrt(width)
        variance = attention.logit_variance(self.of(query), self.of(key), width, factor)
        mask = node.tensor("attn_mask", 3)
        allowed = attention.causal(queries, keys) if node.argument("is_causal", 5, False) else None
        if mask is not None:
            for part in self._summands(mask):
                allowed = attention.masked(self.known_value(part), keys) or allowed
                variance += self.of(part).variance if self.tape[part.node].flow is Flow.WEIGHTS else 0.0
        counts = allowed or (keys,)
        return Attention(query, key, value, factor, attention.mean_focus(variance, counts), counts)

    def _summands(self, mask: Ref) -> list[Ref]:
        """What a mask was added up from: learned biases, and what hides keys."""
        node = self.tape[mask.node]
        if node.flow is not Flow.WEIGHTS or node.op not in (*VIEWS, "add"):
            return [mask]
        return [part for o in node.operands for part in self._summands(o.ref)]

    def _softmax(self, node: Node, x: Signal) -> Signal:
        keys, focus = self.keys(node), self.focus(node, x)
        squares, self.entropies[node.id] = focus.squares, focus.entropy
        return Signal(
            1 / keys, max(0.0, squares / keys - 1 / keys**2), weights=squares, allowed=x.allowed, known=x.known
        )

    def focus(self, node: Node, x: Signal) -> Focus:
        """How a softmax of this value is spread over its axis."""
        own = max(x.variance - x.local, 0.0) if x.logits is None else x.logits
        return attention.mean_focus(own, x.allowed or (self.keys(node),))

    def keys(self, node: Node) -> int:
        """The length of a softmax's axis."""
        axis = node.argument("dim", 1, -1)
        return node.shape[axis if isinstance(axis, int) and -len(node.shape) <= axis < len(node.shape) else -1]

    def _product(self, node: Node, data: list[Operand]) -> Signal:
        """A product of two values: attention weights with values, queries with keys, or independent ones."""
        a, b = self.of(data[0].ref), self.of(data[1].ref)
        if a.weights is not None:
            return attention.attended(b, a.weights, a.allowed or data[0].ref.shape[-1:])
        if b.weights is not None:
            return attention.attended(a, b.weights, b.allowed or data[1].ref.shape[-2:-1])
        width = data[0].ref.shape[-1]
        out = Signal(width * a.mean * b.mean, width * (a.second * b.second - (a.mean * b.mean) ** 2))
        return replace(
            out,
            local=min(width * a.second * (b.local + b.mean**2), out.variance),
            logits=attention.logit_variance(a, b, width, 1.0),
            known=a.known and b.known,
        )

    def _cat(self, node: Node) -> Signal:
        parts = [self.of(o.ref).plain() for o in node.operands]
        sizes = [float(math.prod(o.ref.shape)) for o in node.operands]
        return mixed(parts, sizes) if sum(sizes) > 0 else parts[0]

    def _elementwise(self, node: Node, data: list[Operand]) -> Signal | None:
        """A function of one value, of two of one root, or a sum or product of independent ones."""
        others = [o for o in node.operands if o not in data]
        x = self.of(data[0].ref)
        if len(data) == 2 and node.op in ("mul", "div"):
            spread = divided_by_spread(self.tape, node)
            if spread is not None:
                normalized = self.of(Ref(spread)).plain()
                by = next((i for i in (o.ref.node for o in data) if i != spread), spread)
                count = spread_count(self.tape, spread, by)
                return normalized.scaled(1 / math.sqrt(max(normalized.second * count, 1e-24)))
        if len(data) == len(others) == 1 and x.logits is not None:
            hidden = self._hidden(others[0].ref) if node.op == "add" else None
            if hidden is not None:
                return replace(x, allowed=hidden)
            if node.op == "mul" and self._is_mask(others[0].ref):
                return x  # what it blots out, an added mask hides next
        constants = {o.ref.node: self.of(o.ref) for o in others}
        if len(data) == 1 and all(c.variance <= 1e-12 for c in constants.values()):
            return one_value(node, data[0].ref, x, self.signals, constants)
        if len(data) == 1 and len(others) == 1:
            return with_constant(node, x, self.other(others[0], data[0].ref.shape), first=data[0] == node.operands[0])
        if len(data) == 2 and not others:
            return joined(node, data, [self.of(o.ref) for o in data], self.signals)
        if len(data) > 1 and all(c.variance <= 1e-12 for c in constants.values()):
            return together(node, data, [self.of(o.ref) for o in data], self.signals, constants)
        return None

    def _hidden(self, mask: Ref) -> tuple[int, ...] | None:
        """How many keys each query sees behind an added mask; ``None`` where what is added hides nothing."""
        value, node = self.known_value(mask), self.tape[mask.node]
        if value is not None:
            return attention.masked(value, mask.shape[-1]) if float(value.min()) < -1e3 else None
        if node.flow is Flow.FIXED and len(mask.shape) > 1:
            return attention.causal(mask.shape[-2], mask.shape[-1])
        return None

    def _is_mask(self, ref: Ref) -> bool:
        """Whether a fixed value is made of zeros and ones."""
        value = self.known_value(ref)
        return value is not None and value.numel() > 1 and bool(((value == 0) | (value == 1)).all())

    def other(self, operand: Operand, data: tuple[int, ...]) -> Signal:
        """What is joined with data of this shape: of a parameter, the same for all samples, or positions, it has."""
        signal, shape = self.of(operand.ref), operand.ref.shape
        if self.tape[operand.ref.node].flow is not Flow.WEIGHTS:
            return signal
        if len(shape) > len(data) or len(data) < 2:
            return same(signal)
        aligned = (*(1,) * (len(data) - len(shape)), *shape)
        positions = aligned[1:-1] if len(data) < 4 else aligned[2:-1]
        of_positions = aligned[-1] > 1 and any(n > 1 for n in positions)
        return replace(
            signal.plain(),
            shared=signal.variance if aligned[0] == 1 else signal.shared,
            local=signal.local if of_positions else signal.variance,
        )


def _part(node: int, output: int) -> int:
    """Where the signal of one output of a split is kept, beside those of the nodes."""
    return -1 - (node << 12) - output


def origin(place: int) -> tuple[int, int]:
    """The node, and which of its outputs, whose signal is kept at a place: what ``Signal.root`` names."""
    return (place, 0) if place >= 0 else divmod(-1 - place, 1 << 12)


def same(signal: Signal) -> Signal:
    """A parameter as what it multiplies sees it: the same for every sample and position."""
    return Signal(signal.mean, signal.variance, signal.variance, signal.variance, known=signal.known)


def _real(node: Node) -> Signal:
    """The signal of a value that is known; a standard normal one where it is not."""
    if node.value is None or node.value.is_complex():
        return Signal(0.0, 1.0).rooted(node.id, None)
    found = measured(node.value.float())
    if node.op == INPUT and not found.variance > 0:
        found = Signal(0.0, 1.0)  # zeros or ones stand in for data
    if node.flow is Flow.FIXED:
        found = replace(found, shared=found.variance)
    return found.rooted(node.id, None)
