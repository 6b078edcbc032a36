"""Gradients through functions of single values, by the chain rule in one step: to the Gaussian value behind them.

φ'(z) is taken at once from the place to z, so that hand-written activations of many calls keep their exact E[φ'²].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import torch

from ..graphs.ops import SUMS
from ..graphs.tape import Flow, Node, Operand, Ref
from . import adjoints, pooled
from .elementwise import called
from .propagate import origin
from .quadrature import through
from .signal import Function, Signal
from .slopes import partial, slope, sloped
from .ways import CUTS, Way


def function(way: Way, node: Node, g: Signal, data: list[Operand]) -> None:
    """Straight to the Gaussian value that this is a function of; calls between are only shown theirs."""
    out = way.done.signals[node.id]
    if out.function is None or out.root is None:
        return
    place, output = origin(out.root)
    if _is_interrupted(way, node, place):
        for operand, gradient in _to_operands(way, node, g, data):
            way.give(operand.ref, gradient)
        return
    root, inner = way.done.signals[out.root], slope(out.function)
    derivative, flat = sloped(inner, root)
    by_value = g.times(through(lambda z: inner(z) * z, root, jumps=True))
    whole = way.tape[place].shapes[output] if output < len(way.tape[place].shapes) else way.tape[place].shape
    handed = adjoints.sloped(g, derivative)
    if prod(node.shape) > prod(whole):
        handed, by_value = (adjoints.added(s, *way.copies(node.shape, whole)) for s in (handed, by_value))
    if way.tape[place].flow is not Flow.FIXED and place not in way.lost:
        way.put(place, output, handed, flat, by_value)
    show_operands(way, node, g, data)


def maximum(way: Way, node: Node, g: Signal, ref: Ref) -> bool:
    """The largest of some φ(z) passes its gradient on through its own slope, not the mean one."""
    x, g = way.done.of(ref), adjoints.chosen(g, min(1.0, prod(node.shape) / max(1, prod(ref.shape))))
    place, output = (ref.node, ref.output) if x.root is None else origin(x.root)
    if x.function is None or x.root is None or place in way.lost:
        way.give(ref, g)
        return True
    slopes = pooled.slope_at_maximum(node, way.done.signals[x.root], slope(x.function), x.function, ref)
    way.show(ref, g)
    way.put(place, output, adjoints.sloped(g, slopes))
    return True


def to_constants(way: Way, node: Node, g: Signal, x: Signal) -> None:
    """Parameters that were added to a value or multiplied with it; of others nothing is said."""
    for operand in node.operands:
        if way.tape[operand.ref.node].flow is Flow.WEIGHTS:
            if node.op in SUMS:
                way.give(operand.ref, way.gathered(g, node.shape, operand.ref.shape))
            elif node.op == "mul":
                way.give(operand.ref, way.gathered(g.times(x.plain()), node.shape, operand.ref.shape))
            else:
                way.lose(operand.ref)


def show_operands(way: Way, node: Node, g: Signal, data: list[Operand]) -> None:
    """What the calls between a function and its Gaussian value get, which is not handed on from there."""
    for operand, gradient in _to_operands(way, node, g, data):
        if way.done.of(operand.ref).function is not None:  # else it is the root, or a view of it
            way.show(operand.ref, gradient)


def _to_operands(way: Way, node: Node, g: Signal, data: list[Operand]) -> Iterator[tuple[Operand, Signal]]:
    """What each operand of a function gets by the call's own slope."""
    out = way.done.signals[node.id]
    if out.root is None:
        return
    inner: list[Function] = [way.done.of(o.ref).function or (lambda z: z) for o in data]
    for i, operand in enumerate(data):
        derivative, _ = sloped(partial(_call(way, node, data), inner, i), way.done.signals[out.root])
        yield operand, adjoints.sloped(g, derivative)


def _is_interrupted(way: Way, node: Node, place: int) -> bool:
    """Whether a cut, or a parameter, stands between a value and what it is a function of."""
    waiting, seen = [i for i in node.inputs if i != place], set[int]()
    while waiting:
        before = way.tape[waiting.pop()]
        if before.id <= place or before.id in seen or before.flow is not Flow.DATA:
            continue
        seen.add(before.id)
        if before.op in CUTS or any(way.tape[i].flow is Flow.WEIGHTS for i in before.inputs):
            return True
        waiting += before.inputs
    return False


def _call(way: Way, node: Node, data: list[Operand]) -> Callable[[Sequence[torch.Tensor]], torch.Tensor]:
    """The call as a function of its data, constants at their means."""
    fixed = {
        o.ref.node: torch.full((1,), way.done.of(o.ref).mean, dtype=torch.float64)
        for o in node.operands
        if o not in data
    }
    return lambda values: called(node, fixed, {(o.slot, o.index): v for o, v in zip(data, values, strict=True)})
