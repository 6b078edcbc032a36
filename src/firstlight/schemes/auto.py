"""The ``auto`` scheme: each weight from the signal that arrives at it, so that every weight's output has E[y²] = 1.

The walk goes along the graph's tape in execution order: ``moments`` predicts what arrives at a weight, the weight is
chosen, and the prediction goes on behind it. Tables, norms and scales have rules of their own (``auto_rules``).
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import torch

from ..graphs.records import Graph, Parameter, Role, Use
from ..graphs.tape import PARAMETER, Flow, Node, Tape
from ..graphs.walks import backward, modulated
from ..initializers.base import Initializer
from ..initializers.draws import moments
from ..initializers.elementwise import Normal, Uniform
from ..initializers.orthogonal import Orthogonal
from ..initializers.sampling import sample
from ..initializers.variance_scaling import VarianceScaling
from ..moments import Propagation, Signal, planned
from ..moments.fused import heads, operands
from ..moments.recurrent import inputs, layer_of
from ..plans import Plan
from ..plans.records import Entry
from .auto_made import is_kept, taken_with
from .auto_rules import rule_entry, sine_factor, table_entries
from .records import Scheme
from .weights import WEIGHTS, Recurrence, embedding_entry, fixed_entry, undecided

REFERENCE = "Bingham & Miikkulainen 2023, arXiv 2109.08958"
_LECUN = "LeCun et al. 1998"
_SIREN = "Sitzmann et al. 2020, arXiv 2006.09661"
_SAXE = "Saxe et al. 2014, arXiv 1312.6120"
_WALKS = 4
_NEAR = 1.25  # a second moment that is off by no more is left
_CHANG = "Chang et al. 2020, arXiv 2312.08399"
_ALONE, _DIVIDED = "no data passes it by itself", "its own scale is divided out"
_FACTORIZED = 2**22  # elements up to which a matrix is drawn orthogonal
_RECURRENT = (Role.RECURRENT_INPUT, Role.RECURRENT_HIDDEN, Role.RECURRENT_PROJECTION)


def auto_scheme(label: str = "auto") -> Scheme:
    """Every weight so that the signal keeps a unit second moment forward.

    A weight whose input x arrives with E[x²] gets σ² = t / (n E[x²]), n the inputs it really sums (padding, strides
    and overlaps counted) and t = 1; t = 1/N where it closes one of N residual branches, so that the stream stays below
    2. E[x²] is E[φ(z)²] after an activation φ, whatever it is, with what the samples and positions share kept track
    of; He's factor 2 is the case φ = ReLU. Matrices are drawn orthogonal, but for very large ones.

    Forward comes first: the gradient's second moment changes by fan_out σ² E[φ'(z)²] a layer, which is about one
    where widths are equal, and over a network by about the ratio of its widths.

    Without a traced forward what follows a weight is not known: hidden weights are taken for a ReLU network's.
    """

    def plan(graph: Graph) -> Plan:
        entries = _by_structure(graph) if graph.tape is None else _walked(graph, graph.tape)
        return Plan(label, entries)

    return Scheme(label, plan, traced=True)


def _walked(graph: Graph, tape: Tape) -> tuple[Entry, ...]:
    """The entries of one walk; of some more where weights that are used more than once were missed by the first."""
    scales: dict[str, float] = {}
    for _ in range(_WALKS):
        walk = _Walk(graph, tape, scales)
        entries = walk.entries()
        missed = walk.corrections()
        if not missed:
            break
        scales = {name: scales.get(name, 1.0) * missed.get(name, 1.0) for name in scales.keys() | missed.keys()}
    return entries


class _Walk:
    """Decisions as the signal comes along."""

    def __init__(self, graph: Graph, tape: Tape, corrections: Mapping[str, float] | None = None) -> None:
        self.graph, self.tape, self.scales = graph, tape, corrections or {}
        self.decided: dict[str, Entry] = table_entries(graph, tape)
        for name in self.scales.keys() & self.decided.keys():
            self.decided[name] = _corrected(self.decided[name], self.scales[name])
        for parameter in (*graph.parameters, *graph.statistics):
            entry = rule_entry(parameter) or fixed_entry(parameter, Recurrence())
            if entry is not None:
                self.decided.setdefault(parameter.name, entry)
        self.waiting: dict[int, list[tuple[Parameter, Use]]] = defaultdict(list)
        for parameter in graph.parameters:
            if parameter.name not in self.decided and parameter.role in WEIGHTS:
                use = next((u for u in parameter.uses if u.role in WEIGHTS), None)
                if use is not None:
                    self.waiting[use.node].append((parameter, use))
        self.signals = Propagation(tape, planned(self.decided.values(), tape), self._values)
        self.readers = tape.readers()
        self.places = {n.name: n.id for n in tape if n.op == PARAMETER}

    def entries(self) -> tuple[Entry, ...]:
        """Every parameter's entry, in the graph's order."""
        for node in self.tape:
            for parameter, use in self.waiting.get(node.id, ()):
                entry = self._decide(parameter, use, node)
                if parameter.name in self.scales:
                    entry = _corrected(entry, self.scales[parameter.name])
                self.decided[parameter.name] = entry
                self.signals.weights |= planned([entry], self.tape)
            self.signals.step(node)
        everything = (*self.graph.parameters, *self.graph.statistics)
        return tuple(self.decided.get(p.name) or _untraced(p) for p in everything)

    def corrections(self) -> dict[str, float]:
        """What the weights that are used twice, or were set before their signal was known, should be multiplied by.

        √(Π tᵢ / E[yᵢ²])^(1/n) over their n uses: none is exactly right then, and none far off.
        """
        found: dict[str, float] = {}
        for parameter in self.graph.parameters:
            uses = [u for u in parameter.uses if u.role in WEIGHTS and self.tape[u.node].flow is Flow.DATA]
            entry = self.decided.get(parameter.name)
            alone = len(uses) == 1 and parameter.role is not Role.EMBEDDING
            if not uses or alone or entry is None or entry.reference == _SAXE or uses[0].role in _RECURRENT:
                continue
            if any(self.tape[u.node].op == "multi_head_attention_forward" and u.role is not Role.OUT for u in uses):
                continue
            factors = [sine_factor(self.tape, self.readers, self.tape[u.node]) for u in uses]
            targets = [_target(u, factor)[0] for u, factor in zip(uses, factors, strict=True)]
            ratios = [self.signals.signals[u.node].second / t for u, t in zip(uses, targets, strict=True)]
            if all(r > 0 and math.isfinite(r) for r in ratios):
                mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                if not 1 / _NEAR < mean < _NEAR:
                    found[parameter.name] = 1 / math.sqrt(mean)
        return found

    def _values(self, name: str, seed: int) -> torch.Tensor | None:
        """A parameter's values as decided, for a call that has to be sampled."""
        entry = self.decided.get(name)
        if entry is None or not isinstance(entry.decision, Initializer) or entry.parameter.layout.numel > _FACTORIZED:
            return None
        return sample(entry.decision, entry.parameter.layout, seed, name, torch.float32)

    def _decide(self, parameter: Parameter, use: Use, node: Node) -> Entry:
        """The standard deviation by which this call's output has the second moment it should."""
        if node.op == "multi_head_attention_forward":
            return self._in_attention(parameter, use, node)
        if use.role in _RECURRENT:
            return self._recurrent(parameter, node)
        if node.flow is not Flow.DATA and any(self.tape[u.node].flow is Flow.DATA for u in parameter.uses):
            why = "it reads a state that starts from nothing, step by step: orthogonal, its powers keep every norm"
            return Entry(parameter, _orthogonal(parameter), why, _SAXE)
        if node.flow is Flow.WEIGHTS:
            return self._made(parameter, node)
        response, at_twice = (self._response(parameter, node, std) for std in (1.0, 2.0))
        if node.flow is not Flow.DATA or not response > 0:
            return _by_fan_in(parameter, _ALONE)
        if at_twice < 2 * response:
            return _by_fan_in(parameter, _DIVIDED)
        return self._for(parameter, use, node, response)

    def _made(self, parameter: Parameter, node: Node) -> Entry:
        """A weight that no data meets by itself: of a hypernetwork, of a parametrization, of learned values."""
        n = taken_with(self.readers, node)
        if n is None:
            return _by_fan_in(parameter, _DIVIDED if is_kept(self.signals, self.readers, parameter, node) else _ALONE)
        self.signals.weights[parameter.name] = Signal(0.0, 1.0)
        made = self.signals.weight(node.id).second
        why = f"it makes the weight of a layer of fan_in {n:g}: E[w²] = 1/{n:g} there"
        std = 1 / math.sqrt(n * (made if made > 0 else parameter.layout.fan_in))
        return Entry(parameter, _drawn(parameter, std), why, _CHANG)

    def _for(self, parameter: Parameter, use: Use, node: Node, response: float) -> Entry:
        fan_in = parameter.layout.fan_in
        arriving = response / fan_in if fan_in else response
        factor = sine_factor(self.tape, self.readers, node)
        if factor is not None and self._reads_inputs(node):
            why = f"the first layer of a sine network: U(±1/fan_in), so that sin({factor:g} x) spans its periods"
            return Entry(parameter, Uniform(-1 / fan_in, 1 / fan_in), why, _SIREN)
        target, because, reference = _target(use, factor)
        std = math.sqrt(target / response)
        sure = "" if self._is_sure(node) else " (an operation before it was sampled, not computed)"
        why = f"its input arrives with E[x²] = {arriving:.3g}, fan_in {fan_in:g}: {because}{sure}"
        return Entry(parameter, _drawn(parameter, std), why, reference)

    def _response(self, parameter: Parameter, node: Node, std: float) -> float:
        """E[y²] of the call's output for weights of this standard deviation."""
        self.signals.weights[parameter.name] = Signal(0.0, std**2)
        for place in self._between(node):
            self.signals.step(self.tape[place])
        return self.signals.step(node).second if node.flow is Flow.DATA else 0.0

    def _between(self, node: Node) -> list[int]:
        """The calls in which data scale a weight before this one takes it: their signals change with the weight's."""
        start = modulated(self.tape, node)
        weight = node.tensor("weight", 1)
        if start is None or weight is None:
            return []
        behind = backward(self.tape, weight.node, lambda n: n.id > start)
        return sorted(n.id for n in behind if n.id >= start)

    def _is_sure(self, node: Node) -> bool:
        return all(self.signals.signals[i].known for i in node.inputs if self.tape[i].flow is Flow.DATA)

    def _reads_inputs(self, node: Node) -> bool:
        """Whether the call reads the model's inputs, unchanged but for views."""
        data = [i for i in node.inputs if self.tape[i].flow is Flow.DATA]
        return bool(data) and all(self.tape[i].op == "input" for i in data)

    def _in_attention(self, parameter: Parameter, use: Use, node: Node) -> Entry:
        """In a fused attention call: unit queries, keys and values, then a unit output."""
        fan_in = parameter.layout.fan_in
        if use.role is Role.OUT:
            return self._for(
                parameter, use, node, fan_in * heads(node, self.signals.of, self.signals.known_value).second
            )
        by_role = dict(zip((Role.QUERY, Role.KEY, Role.VALUE), operands(node), strict=True))
        refs = [by_role[use.role]] if use.role in by_role else list(by_role.values())
        arriving = sum(self.signals.of(ref).second for ref in refs) / len(refs)
        std = 1 / math.sqrt(fan_in * arriving)
        why = f"its input arrives with E[x²] = {arriving:.3g}, fan_in {fan_in:g}: q, k and v of E[y²] = 1"
        return Entry(parameter, _drawn(parameter, std), why, REFERENCE)

    def _recurrent(self, parameter: Parameter, node: Node) -> Entry:
        fan_in = parameter.layout.fan_in
        if parameter.role is not Role.RECURRENT_INPUT:
            why = f"fan_in {fan_in:g}: it keeps the second moment of the state that it reads"
            return Entry(parameter, _drawn(parameter, 1 / math.sqrt(fan_in)), why, _LECUN)
        x = next(itertools.islice(inputs(node, self.signals.of), layer_of(node, self.places[parameter.name]), None))
        arriving = x.second if x.second > 0 else 1.0
        why = f"what it reads has E[x²] = {arriving:.3g}, fan_in {fan_in:g}: a gate's argument of E[y²] = 1"
        return Entry(parameter, _normal(1 / math.sqrt(fan_in * arriving)), why, _LECUN)


def _target(use: Use, factor: float | None) -> tuple[float, str, str]:
    """The second moment that a weight's output should have, why, and whose idea it is."""
    if factor is not None:
        return (
            factor**-2,
            f"the argument of sin({factor:g} y) has unit second moment",
            "Sitzmann et al. 2020, arXiv 2006.09661",
        )
    branch = use.branch
    if branch is not None and branch.total > 1 and not use.normalized:
        why = f"it closes branch {branch.index} of {branch.total} of its stream: E[y²] = 1/{branch.total}"
        return 1 / branch.total, why, "Zhang et al. 2019, Fixup, arXiv 1901.09321"
    if use.head:
        return 1.0, "outputs of E[y²] = 1", _LECUN
    met = f" before {use.meets}" if use.meets else ""
    return 1.0, f"E[y²] = 1{met}", REFERENCE


def _drawn(parameter: Parameter, std: float) -> Initializer:
    """Orthogonal with entries of this standard deviation where a map's axes are known and it is not very large.

    A Gaussian matrix of width n changes a vector's norm by about 1/√n of itself, and over L layers these add up to
    √(L/n); an orthogonal one does not (Saxe et al. 2014). In a wide layer the difference is not worth the
    factorization.
    """
    if parameter.layout.out_axis is None or parameter.layout.numel > _FACTORIZED:
        return _normal(std)
    unit = moments(Orthogonal().draw(parameter.layout))
    return Orthogonal(std / unit[1]) if unit is not None and unit[1] else _normal(std)


def _by_fan_in(parameter: Parameter, because: str) -> Entry:
    """σ = 1/√fan_in, where nothing else is known, or nothing else matters."""
    why = f"{because}: fan_in {parameter.layout.fan_in:g} alone, σ = 1/√fan_in"
    return Entry(parameter, _normal(1 / math.sqrt(max(parameter.layout.fan_in, 1))), why, _LECUN)


def _corrected(entry: Entry, factor: float) -> Entry:
    """The entry with values ``factor`` times as large."""
    why = f"{entry.reason}; times {factor:.3g}, a mean over all that it is used for"
    match entry.decision:
        case Normal(std=std):
            return replace(entry, decision=Normal(std=std * factor), reason=why)
        case Orthogonal(gain=gain):
            return replace(entry, decision=Orthogonal(gain * factor), reason=why)
        case _:
            return entry


def _orthogonal(parameter: Parameter) -> Initializer:
    """Orthogonal where the axes are known, block by block; else Gaussian of the same norm."""
    layout = parameter.layout
    if layout.out_axis is None or layout.numel > _FACTORIZED:
        return _normal(1 / math.sqrt(max(layout.fan_in, 1)))
    return Orthogonal()


def _normal(std: float) -> Normal:
    return Normal(std=std)


def _untraced(parameter: Parameter) -> Entry:
    """A parameter that the forward never used: by its module alone."""
    return _structural(parameter, "not used in this forward")


def _by_structure(graph: Graph) -> tuple[Entry, ...]:
    unknown = "what follows is not known without example inputs"
    return tuple(_structural(p, unknown) for p in (*graph.parameters, *graph.statistics))


def _structural(parameter: Parameter, unknown: str) -> Entry:
    role = parameter.role
    fixed = fixed_entry(parameter, Recurrence())
    if fixed is not None:
        return fixed
    if role is Role.EMBEDDING:
        return embedding_entry(parameter)
    if role not in WEIGHTS:
        return undecided(parameter)
    rectified = role in (Role.LINEAR, Role.CONV, Role.CONV_TRANSPOSED, Role.DECLARED)
    why = f"{unknown}: taken for a ReLU, gain √2" if rectified else f"{unknown}: gain 1"
    reference = "He et al. 2015, arXiv 1502.01852" if rectified else _LECUN
    return Entry(parameter, VarianceScaling(2.0 if rectified else 1.0, "fan_in", "normal"), why, reference)
