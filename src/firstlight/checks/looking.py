"""What the rules look at: a ``Light``, and which of its places every signal must pass.

``diagnosis`` makes one ``Look`` and hands it to each family's rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..graphs import Node, Role, Tape, Use
from ..graphs.tape import Flow
from ..graphs.walks import data_of
from ..probes.records import Kind, Light, Place, Weight

WEIGHTS = frozenset(
    str(role)
    for role in (
        *(Role.LINEAR, Role.CONV, Role.CONV_TRANSPOSED, Role.BILINEAR, Role.ATTENTION, Role.DECLARED, Role.QUERY),
        *(Role.KEY, Role.VALUE, Role.OUT, Role.RECURRENT_INPUT, Role.RECURRENT_HIDDEN, Role.RECURRENT_PROJECTION),
    )
)
TABLES = frozenset({str(Role.EMBEDDING)})
RECURRENT = frozenset(str(role) for role in (Role.RECURRENT_INPUT, Role.RECURRENT_HIDDEN, Role.RECURRENT_PROJECTION))


REGRESSIONS = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")  # losses that compare outputs with real targets


@dataclass(frozen=True, slots=True)
class Look:
    """A light, and what all rules ask of it.

    Args:
        light: as measured.
        weights: its parameters by name.
        trunk: the places that lie on every way from the inputs to the outputs, in order: no residual branch, no
            queries or keys. Where the model could not be traced, all places but softmaxes.
        head: the last weight place on the trunk; ``None`` for a model without one.
    """

    light: Light
    weights: MappingProxyType[str, Weight]
    trunk: tuple[Place, ...]
    head: Place | None

    @property
    def tape(self) -> Tape | None:
        """What the traced forward did; ``None`` where the model could not be traced."""
        return _tape(self.light)

    @property
    def traced(self) -> bool:
        """Whether the trunk is known from a trace."""
        return self.tape is not None

    @property
    def gate(self) -> float:
        """The smallest scale by which a branch starts nearly closed (LayerScale); 1 where none does."""
        scales = [math.sqrt(w.second) for w in self.light.weights if w.role == str(Role.LAYER_SCALE) and w.second > 0]
        return min(1.0, *scales) if scales else 1.0

    def weight_of(self, place: Place) -> Weight | None:
        """The weight that a place reads."""
        return self.weights.get(place.weight) or self.light.weight(place.weight) if place.weight else None

    def bias_of(self, place: Place) -> Weight | None:
        """The bias that a place reads."""
        found = (self.weights.get(name) for name in place.parameters[1:])
        return next((w for w in found if w is not None and w.role in (str(Role.BIAS), str(Role.GATE_BIAS))), None)

    def place_of(self, name: str) -> Place | None:
        """The first place that reads a parameter."""
        return next((p for p in self.light.places if name in p.parameters), None)

    def name_of(self, place: Place) -> str:
        """What a finding calls a place; that of a function which the model itself calls, by the weight before it."""
        return place.weight or place.module or where_of(self.weight_before(place))

    def before(self, place: Place) -> Place | None:
        """The place on the trunk before this one."""
        earlier = [p for p in self.trunk if p.index < place.index]
        return earlier[-1] if earlier else None

    def weight_before(self, place: Place) -> Place:
        """The weight place that an activation's argument comes from, the place itself where there is none."""
        earlier = [p for p in self.light.places[: place.index] if p.kind is Kind.WEIGHT]
        return earlier[-1] if earlier else place

    def loudest_before(self, join: Place) -> Place:
        """The weight place with the largest gain σ² · fan_in of the branch that a join takes up, or the join."""
        start = self.before(join)
        branch = self.light.places[0 if start is None else start.index + 1 : join.index]
        weights = [
            p for p in branch if p.kind is Kind.WEIGHT and (w := self.weight_of(p)) is not None and w.role in WEIGHTS
        ]
        return max(weights, key=self.gain_of, default=join)

    def gain_of(self, place: Place) -> float:
        """σ² · fan_in of the weight that a place reads; 0 where it reads none."""
        weight = self.weight_of(place)
        return 0.0 if weight is None else weight.gain

    def through(self, weight: Weight) -> tuple[str, ...]:
        """The calls that lie between a parameter and the first that uses it; none where no trace tells."""
        return next((use.through for use in self.uses(weight)), ())

    def uses(self, weight: Weight) -> tuple[Use, ...]:
        """The calls that read a parameter; none where no trace tells."""
        graph = self.light.graph
        return next((p.uses for p in graph.parameters if p.name == weight.name), ()) if graph is not None else ()

    def reads(self, reader: Place, source: Place) -> bool:
        """Whether a place's call reads another's value as it is; where no trace tells, no."""
        if self.tape is None or reader.node is None or source.node is None:
            return False
        return source.node in data_of(self.tape, self.tape[reader.node])

    def is_zero(self, place: Place) -> bool:
        """Whether a weight place's weight is zero throughout, as a branch or head that starts from nothing."""
        weight = self.weight_of(place)
        return weight is not None and weight.constant and weight.second == 0


def look_at(light: Light) -> Look:
    """The view of a light that rules take."""
    weights = MappingProxyType({w.name: w for w in light.weights})
    trunk = _trunk(light)
    heads = [p for p in trunk if p.kind is Kind.WEIGHT]
    return Look(light, weights, trunk, heads[-1] if heads else None)


def rms(place: Place) -> float:
    """√E[x²] of what was measured at a place; 0 where nothing was."""
    return math.sqrt(place.forward.second) if place.forward is not None else 0.0


def gradient_norm(place: Place) -> float | None:
    """‖g‖ of the gradient at a place; ``None`` where none was measured."""
    return None if place.backward is None else math.sqrt(place.backward.squared_norm)


def where_of(place: Place) -> str:
    """What a finding calls a place: its weight, or else the module it ran in."""
    return place.weight or place.module or place.op


def _tape(light: Light) -> Tape | None:
    return None if light.graph is None else light.graph.tape


def _trunk(light: Light) -> tuple[Place, ...]:
    tape = _tape(light)
    measured = [p for p in light.places if p.forward is not None]
    if tape is None or not any(p.node is not None for p in measured):
        return tuple(p for p in measured if p.kind not in (Kind.SOFTMAX, Kind.OUTPUT))
    on = dominators(tape)
    kept = [p for p in measured if p.node is not None and p.node in on and p.kind is not Kind.OUTPUT]
    starts = [p for p in measured if p.kind is Kind.INPUT and p not in kept]
    return tuple(starts[:1] + kept) if not any(p.kind is Kind.INPUT for p in kept) else tuple(kept)


def dominators(tape: Tape) -> frozenset[int]:
    """The nodes that lie on every way from the model's inputs to its outputs.

    In execution order the immediate dominator of a node is the deepest common one of those it reads (Cooper, Harvey &
    Kennedy 2001). Fixed values and weights are no way of the signal; nor are whole numbers beside real ones, which
    choose and mask (labels, indices), nor a loss that the model returns beside its outputs.
    """
    above: dict[int, int] = {}
    depth: dict[int, int] = {-1: 0}
    for node in tape:
        if node.flow is not Flow.DATA:
            continue
        read = [i for i in node.inputs if i in above]
        read = [i for i in read if _is_real(tape[i])] or read
        parent = _common(read, above, depth) if read else -1
        above[node.id], depth[node.id] = parent, depth[parent] + 1
    made = [ref for ref in tape.outputs if ref.node in above]
    ends = [ref.node for ref in made if ref.shape] or [ref.node for ref in made]
    found = set()
    place = _common(ends, above, depth) if ends else -1
    while place != -1:
        found.add(place)
        place = above[place]
    return frozenset(found)


def _is_real(node: Node) -> bool:
    return any(dtype.is_floating_point or dtype.is_complex for dtype in node.dtypes)


def _common(nodes: Sequence[int], above: dict[int, int], depth: dict[int, int]) -> int:
    first, *others = nodes
    for other in others:
        while first != other:
            if depth[first] >= depth[other]:
                first = above[first]
            else:
                other = above[other]
    return first


def segments(trunk: Sequence[Place]) -> Iterator[tuple[Place, ...]]:
    """The trunk cut at its norms: within a piece scales multiply, across a norm they are forgotten."""
    piece: list[Place] = []
    for place in trunk:
        piece.append(place)
        if place.kind is Kind.NORM:
            yield tuple(piece)
            piece = [place]
    yield tuple(piece)
