"""What each parameter does on a tape: from where it stands, through what is made of it alone, to the calls it meets.

``trace`` joins this with what the modules declare.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ..initializers.layout import Layout
from . import views
from .attention import attention_roles
from .neutral import neutral
from .ops import ATTENTION, EMBEDDINGS, JOINS, PRODUCTS, SUMS, VIEWS, words
from .readings import Reading, read
from .records import Role, Use
from .residuals import Join, joins
from .stacks import stacked_maps
from .surroundings import surroundings
from .tape import INPUT, PARAMETER, Flow, Node, Operand, Tape
from .walks import Readers, data_of, is_normalized, is_weight_call, meets_softmax, modulated

_SCALES = (Role.NORM_SCALE, Role.LAYER_SCALE, Role.SCALE)
_MAPS = (Role.LINEAR, Role.CONV, Role.CONV_TRANSPOSED, Role.BILINEAR)


@dataclass(frozen=True, slots=True)
class _Reach:
    """A value made from one parameter alone: its axes, and the calls on the way, the last of which made it."""

    node: int
    axes: views.Axes | None
    path: tuple[int, ...]


def find_uses(tape: Tape) -> Mapping[str, tuple[Use, ...]]:
    """The uses of every parameter that stands on a tape, by name, in order; none where the forward never read it."""
    readers = tape.readers()
    into = {place: node.id for node in tape if (place := modulated(tape, node)) is not None}
    context = _Context(tape, readers, joins(tape), attention_roles(tape, readers), into)
    return {n.name: tuple(context.uses(n)) for n in tape if n.op == PARAMETER}


@dataclass(frozen=True, slots=True)
class _Context:
    tape: Tape
    readers: Readers
    joins: Mapping[int, Join]
    attention: Mapping[int, tuple[Role, int]]
    modulated: Mapping[int, int]  # from the product that data scales a weight in, to the map that takes it

    def uses(self, parameter: Node) -> Iterator[Use]:
        """Every call where the parameter meets data, or takes a weight's place."""
        waiting = deque([_Reach(parameter.id, views.own(parameter.shape), ())])
        seen = {parameter.id}
        met = set()
        while waiting:
            reach = waiting.popleft()
            for node, operand in self.readers[reach.node]:
                if node.id in self.modulated:
                    yield self._modulated_use(parameter, reach, self.tape[self.modulated[node.id]])
                    continue
                reading = self._reading(node, operand, reach)
                if reading is not None:
                    if (node.id, operand.slot, operand.index) not in met:
                        met.add((node.id, operand.slot, operand.index))
                        yield self._use(parameter, reach, node, operand, reading)
                elif node.id not in seen and node.flow is Flow.WEIGHTS:
                    seen.add(node.id)
                    axes = views.follow(reach.axes, node, operand) if reach.axes is not None else None
                    waiting.append(_Reach(node.id, axes, (*reach.path, node.id)))

    def _reading(self, node: Node, operand: Operand, reach: _Reach) -> Reading | None:
        """What the value is to the call; ``None`` where the call only makes another value of it."""
        ends = node.flow is Flow.DATA
        reading = read(node, operand)
        if reading is not None:
            named = node.op not in _COMPUTED_WITH or self._maps_constants(node)
            if reading.role is Role.EMBEDDING:
                return replace(reading, role=self._table(node))
            return reading if ends or named else None
        if not ends:
            # A weight that reads parameters alone has a learned input: a latent array, a table of coordinates.
            return Reading(Role.TOKEN) if is_weight_call(self.tape, node) and node.op not in _COMPUTED_WITH else None
        return Reading(self._surrounded(node, operand, reach))

    def _maps_constants(self, node: Node) -> bool:
        """Whether a matrix product maps fixed values, such as positions: it makes no weight of weights."""
        return any(self.tape[o.ref.node].flow is Flow.FIXED and len(o.ref.shape) > 1 for o in node.operands)

    def _table(self, node: Node) -> Role:
        """A table that ids of the data look up, or one of positions, which every example shares."""
        ids = self.tape[node.inputs[0]]
        alike = ids.value is not None and bool((ids.value == ids.value.flatten()[:1]).all())
        if node.flow is Flow.DATA and not (alike and ids.op != INPUT):
            return Role.POSITIONAL if _counts(self.tape, ids) else Role.EMBEDDING
        if self._lands_in_logits(node.id):
            return Role.RELATIVE_BIAS
        return (
            Role.EMBEDDING
            if ids.value is not None and bool((ids.value == ids.value.flatten()[:1]).all())
            else Role.POSITIONAL
        )

    def _lands_in_logits(self, place: int) -> bool:
        waiting, seen = [place], {place}
        while waiting:
            for node, operand in self.readers[waiting.pop()]:
                if node.flow is Flow.DATA and (
                    (node.op in SUMS and meets_softmax(self.readers, node.id))
                    or (node.op in ATTENTION and operand.slot in (3, "attn_mask"))
                ):
                    return True
                if node.flow is Flow.WEIGHTS and node.id not in seen:
                    seen.add(node.id)
                    waiting.append(node.id)
        return False

    def _surrounded(self, node: Node, operand: Operand, reach: _Reach) -> Role:
        """The role of what no signature names: from the call and what it meets."""
        others = [i for i in data_of(self.tape, node) if i not in operand.ref.nodes]
        if self._is_rate(node, reach) or self._interpolates(reach):
            return Role.STATE_SPACE
        if node.op in JOINS:
            axis = node.argument("dim", 1, 0)
            last = isinstance(axis, int) and axis % max(1, len(operand.ref.shape)) == len(operand.ref.shape) - 1
            return Role.POSITIONAL if last and len(operand.ref.shape) > 1 else Role.TOKEN
        if node.op in SUMS:
            return self._added(node, operand, others, reach)
        if node.op in PRODUCTS:
            return self._multiplied(node, others, reach)
        if node.op in ("getitem", "gather", "index_select", "index", "take_along_dim"):
            return Role.EMBEDDING
        if node.op in VIEWS:  # where, masked_fill, setitem: it takes the place of data
            return Role.TOKEN
        return Role.SCALE if node.op in _ELEMENTWISE else Role.UNKNOWN

    def _added(self, node: Node, operand: Operand, others: list[int], reach: _Reach) -> Role:
        wide = [n for n in operand.ref.shape if n != 1]
        if len(wide) > 1 and any(self._units_behind(i) == math.prod(wide) for i in others):
            return Role.BIAS  # of units that a view has laid out as heads
        if len(wide) > 1 or any(self.tape[n].op in EMBEDDINGS for n in reach.path):
            return Role.RELATIVE_BIAS if meets_softmax(self.readers, node.id) else Role.POSITIONAL
        if any(is_normalized(self.tape, i) for i in others):
            return Role.NORM_SHIFT
        return Role.BIAS

    def _multiplied(self, node: Node, others: list[int], reach: _Reach) -> Role:
        alone = math.prod(self.tape[reach.node].shape) == 1  # one number for all units is a temperature
        if not alone and any(is_normalized(self.tape, i) for i in others):
            return Role.NORM_SCALE
        return Role.LAYER_SCALE if self._closes(node) else Role.SCALE

    def _is_rate(self, node: Node, reach: _Reach) -> bool:
        """Whether the parameter is a rate of decay: -exp of it, or exp of exp of it times data."""
        path = [self.tape[n].op for n in reach.path]
        return "exp" in path and ("neg" in path or any(r.op == "exp" for r, _ in self.readers[node.id]))

    def _interpolates(self, reach: _Reach) -> bool:
        """Whether a value mixes two others: one is multiplied by it, the other by one less it."""
        start = reach.path[0] if reach.path else reach.node
        siblings = self.readers[self.tape[start].inputs[0]] if reach.path else self.readers[start]
        return any(r.op == "rsub" and 1 in r.args for r, _ in siblings) and len(siblings) > 1

    def _units_behind(self, place: int) -> float:
        """How many units a value has: the outputs of the weight call it is a view of, or its last axis there."""
        node = self.tape[place]
        while node.op in VIEWS or (node.op in ("mul", "div") and len(data_of(self.tape, node)) == 1):
            node = self.tape[data_of(self.tape, node)[0]]
        readings = [read(node, o) for o in node.operands if self.tape[o.ref.node].flow is Flow.WEIGHTS]
        made = [r.fan_out for r in readings if r is not None and r.role is Role.LINEAR]
        return made[0] if made else node.shape[-1] if node.shape else 0

    def _closes(self, node: Node) -> bool:
        """Whether a product goes straight into a residual join."""
        waiting, seen = [node.id], {node.id}
        while waiting:
            place = waiting.pop()
            for reader, _ in self.readers[place]:
                if reader.id in self.joins and self.joins[reader.id].skip != place:
                    return True
                if reader.op in VIEWS and reader.id not in seen:
                    seen.add(reader.id)
                    waiting.append(reader.id)
        return False

    def _modulated_use(self, parameter: Node, reach: _Reach, call: Node) -> Use:
        """A weight that data scales before a map takes it: the map's role and fans, in the map's own shape."""
        weight = next(o for o in call.operands if o.slot in (1, "weight"))
        reading = read(call, weight) or Reading(Role.UNKNOWN)
        rank, own = len(weight.ref.shape), views.own(parameter.shape)
        # One axis more counts samples, and has size one in the parameter.
        axes = own[-rank:] if math.prod(parameter.shape[:-rank]) == 1 else None
        return self._use(parameter, replace(reach, axes=axes), call, weight, replace(reading, blocks=1))

    def _use(self, parameter: Node, reach: _Reach, node: Node, operand: Operand, reading: Reading) -> Use:
        around = surroundings(self.tape, self.readers, self.joins, node.id)
        role = reading.role
        if role in _MAPS:
            tag, parts = self.attention.get(node.id, (role, 1))
            role = tag if role is Role.LINEAR else role
            parts = parts if parts > 1 else stacked_maps(self.tape, self.readers, node)
            reading = _divided(reading, parts, operand.ref.shape)
        return Use(
            node=node.id,
            op=node.op,
            module=node.module,
            role=role,
            layout=_layout(parameter.shape, operand.ref.shape, reach.axes, reading),
            through=tuple(self.tape[n].op for n in reach.path),
            meets=around.meets,
            normalized=around.normalized,
            branch=around.branch,
            head=around.head,
            neutral=neutral(self.tape, parameter.id, reach.path) if role in _SCALES else 1.0,
            direction=_direction(self.tape, node) if role is Role.MAGNITUDE else "",
        )


# Matrix products make other weights of weights; the other weight calls stand where a model uses them.
_COMPUTED_WITH = words("matmul mm bmm addmm baddbmm addbmm einsum mv addmv dot inner tensordot")
_ELEMENTWISE = words("maximum minimum lerp pow exp sigmoid softplus clamp softmax tanh float_power where")


def _counts(tape: Tape, ids: Node) -> bool:
    """Whether ids that depend on the data are positions: a running count over a mask."""
    seen = 0
    node = ids
    while seen < 8:
        if node.op == "cumsum":
            return True
        data = data_of(tape, node)
        if not data or node.op in EMBEDDINGS:
            return False
        node, seen = tape[data[0]], seen + 1
    return False


def _divided(reading: Reading, parts: int, shape: tuple[int, ...]) -> Reading:
    """A map that stacks ``parts`` equal ones: the fans of one."""
    if parts < 2 or reading.blocks > 1 or reading.out is None or shape[reading.out] % parts:
        return reading
    return replace(reading, fan_out=reading.fan_out / parts, blocks=parts)


def _layout(parameter: tuple[int, ...], operand: tuple[int, ...], axes: views.Axes | None, reading: Reading) -> Layout:
    """The reading in the parameter's own axes, where they can be told."""
    out = _own_axis(parameter, operand, axes, reading.out, taken=None)
    in_ = _own_axis(parameter, operand, axes, reading.in_, taken=out)
    if out is None or in_ is None or out == in_:
        return Layout(parameter, reading.fan_in, reading.fan_out)
    stacked = [_own_axis(parameter, operand, axes, a, taken=None) for a in reading.stacked]
    # Independent maps can be told apart along axis 0 alone.
    blocks = parameter[0] if stacked == [0] else reading.blocks if 0 in (out, in_) else 1
    return Layout(parameter, reading.fan_in, reading.fan_out, out, in_, blocks if parameter[0] % blocks == 0 else 1)


def _own_axis(
    parameter: tuple[int, ...], operand: tuple[int, ...], axes: views.Axes | None, axis: int | None, taken: int | None
) -> int | None:
    """The parameter's axis that an operand's axis is; one of size 1 that came and went is any of its own."""
    if axes is None or axis is None or axis >= len(axes):
        return None
    if len(axes[axis]) == 1:
        return next(iter(axes[axis]))
    used = set().union(*axes)
    free = [a for a, n in enumerate(parameter) if n == 1 and a not in used and a != taken]
    return free[0] if operand[axis] == 1 and not axes[axis] and free else None


def _direction(tape: Tape, node: Node) -> str:
    """The parameter that a weight norm's call normalizes."""
    place = node.inputs[0]
    while tape[place].inputs:
        place = tape[place].inputs[0]
    return tape[place].name
