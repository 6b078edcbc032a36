"""Gradients through calls of several values: weights, norms, attention, products and pools.

Each rule says whether it was one for the call; ``backward`` asks for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ..graphs.ops import CONVS, SUMS
from ..graphs.readings import read
from ..graphs.records import Role
from ..graphs.tape import Flow, Node, Operand, Ref
from ..graphs.walks import divided_by_spread, meets_softmax, modulated, spread_count
from . import adjoints, maps, pooled
from .fused import operands, packed
from .normed import divided_by, normed
from .propagate import MAPS, same
from .signal import Signal
from .ways import Way


def mapped(way: Way, node: Node, g: Signal, data: list[Operand]) -> bool:
    """A map by one weight: every connection passes once, so the fan that counts is that of all outputs over inputs."""
    if modulated(way.tape, node) is not None:
        return False
    weights = [(o, read(node, o)) for o in node.operands if way.tape[o.ref.node].flow is Flow.WEIGHTS]
    maps = [(o, r) for o, r in weights if r is not None and r.role in MAPS]
    if len(maps) != 1 or len(data) != 1:
        return False
    (weight, reading), x = maps[0], data[0].ref
    fan, _ = way.done.summed(node, reading.fan_in, replace(way.done.of(x), profile=None))
    connections = prod(node.shape) * fan
    rows = way.parted(connections / max(1, prod(weight.ref.shape)))
    fans = (fan, connections / max(1, prod(x.shape)))
    handed = _through_weight(way, way.done.of(x), weight.ref, fans, rows, g)
    if node.op in CONVS:
        handed = adjoints.strided(handed, prod(node.shape[2:]) / max(1, prod(x.shape[2:])))
    way.give(x, handed)
    for operand, kind in weights:
        if operand is not weight and kind is not None and kind.role is Role.BIAS:
            way.give(operand.ref, way.gathered(g, node.shape, operand.ref.shape))
    return True


def _through_weight(
    way: Way, x: Signal, weight: Ref, fans: tuple[float, float], rows: tuple[float, float], g: Signal, part: float = 1.0
) -> Signal:
    """What the inputs get of a map; the weight, or this part of it, gets the sum over rows of g x.

    ``fans`` are the inputs of an output and the outputs of an input, ``rows`` samples and places of each.
    """
    way.give(weight, adjoints.thinned(adjoints.added(g.times(x.plain()), *rows), part))
    return maps.mapped(g, fans[1], way.done.of(weight))


def norm(way: Way, node: Node, g: Signal, ref: Ref) -> bool:
    """A norm with its scale and shift."""
    x = way.done.of(ref).plain()
    normal = normed(node, x, ref.shape)
    for operand in node.operands:
        reading = read(node, operand)
        if reading is not None and reading.role is Role.NORM_SCALE:
            scale, by_value = way.done.of(operand.ref), way.by_value.get(node.id)
            product = g.times(normal.plain())
            if by_value is not None and scale.mean and scale.variance == 0:
                product = by_value.scaled(1 / scale.mean)  # φ'(z) and z go together
            way.give(operand.ref, way.gathered(product, node.shape, operand.ref.shape))
            g = g.times(same(scale))
        elif reading is not None and reading.role is Role.NORM_SHIFT:
            way.give(operand.ref, way.gathered(g, node.shape, operand.ref.shape))
    square = divided_by(node, x, ref.shape)
    way.give(ref, adjoints.unnormed(node.op, g, square, _size(node, ref.shape), ref.shape))
    return True


def attention(way: Way, node: Node, g: Signal) -> bool:
    """Torch's fused attention of queries, keys and values."""
    looked = way.done.attention(node)
    refs = (looked.query, looked.key, looked.value)
    query, key = looked.query.shape, looked.key.shape
    shared = max(1.0, prod(query) / query[-2] / (prod(key) / key[-2]))  # queries that share a key's head
    signals = (way.done.of(refs[0]), way.done.of(refs[1]), way.done.of(refs[2]))
    found = adjoints.attended(g, signals, looked.focus, looked.allowed, (query[-2], key[-2], query[-1]), looked.scale)
    for i, (ref, gradient) in enumerate(zip(refs, found, strict=True)):
        way.give(ref, gradient if i == 0 else adjoints.added(gradient, 1, 1, shared))
    return True


def fused(way: Way, node: Node, g: Signal) -> bool:
    """Torch's fused attention with its own projections: out, attention, in. Positions come before samples."""
    inner, refs = packed(node, way.done.of, way.done.known_value), operands(node)
    out, bias = node.tensor("out_proj_weight", 11), node.tensor("out_proj_bias", 12)
    if out is None or any(len(r.shape) < 2 for r in refs):
        return False
    if bias is not None:
        way.give(bias, way.gathered(g, node.shape, bias.shape))
    queries, keys, samples = refs[0].shape[0], refs[1].shape[0], prod(refs[0].shape[1:-1])
    fans = (float(out.shape[-1]), float(out.shape[0]))
    g = _through_weight(way, inner.heads, out, fans, (float(samples), float(queries)), g)
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
            way.give(bias, adjoints.thinned(adjoints.added(gradient, *rows), 1 / 3))
        way.give(ref, _through_weight(way, way.done.of(ref), weight, (weight.shape[-1], made), rows, gradient, part))
    return True


def product(way: Way, node: Node, g: Signal, data: list[Operand]) -> bool:
    """A product of two values: attention weights with values, queries with keys, or independent ones."""
    (left, right), width = (o.ref for o in data), float(data[0].ref.shape[-1])
    a, b = way.done.of(left), way.done.of(right)
    if a.weights is not None or b.weights is not None:
        weights, value = (left, right) if a.weights is not None else (right, left)
        squares = way.done.of(weights).weights or 1.0
        queries, keys = weights.shape[-2:] if a.weights is not None else weights.shape[:-3:-1]
        made = float(node.shape[-1]) if a.weights is not None else float(node.shape[-2])
        v = way.done.of(value)
        way.give(weights, adjoints.to_weights(g, v, made))
        way.give(value, adjoints.to_values(g, squares, way.done.of(weights).allowed or (keys,), queries, keys))
        return True
    products = prod(node.shape) * width
    to_left, to_right = (products / max(1, prod(r.shape)) for r in (left, right))
    if meets_softmax(way.readers, node.id):
        way.give(left, adjoints.to_query(g, b, to_left))
        way.give(right, adjoints.to_key(g, a, to_right))
    else:
        way.give(left, Signal(0.0, to_left * g.second * b.second, known=g.known))
        way.give(right, Signal(0.0, to_right * g.second * a.second, known=g.known))
    return True


def average(way: Way, node: Node, g: Signal, ref: Ref) -> bool:
    """A mean or sum over windows, positions or units."""
    before, after = prod(ref.shape), prod(node.shape)
    window = pooled.window(node) or before / max(1, after)
    positions = before / max(1, ref.shape[0] * _units(ref.shape))
    reached = window * after / before
    way.give(ref, adjoints.averaged(g, window, reached, positions, summed=node.op == "sum"))
    return True


def _written_norm(way: Way, g: Signal, spread: int, data: list[Operand]) -> bool:
    """x · rsqrt(mean x²): as an RMS norm; its spread is no way of its own."""
    value = next((o.ref for o in data if o.ref.node == spread), None)
    other = next((i for i in (o.ref.node for o in data) if i != spread), spread)
    x = way.done.of(Ref(spread))
    if value is None or not x.second > 0:
        return False
    count = spread_count(way.tape, spread, other)
    size = prod(value.shape) / max(1, prod(way.tape[other].shape))
    way.give(value, adjoints.unnormed("rms_norm", g, x.second * count, size, value.shape))
    return True


def independent(way: Way, node: Node, g: Signal, data: list[Operand]) -> bool:
    """A sum, product or quotient of values that know nothing of each other."""
    if node.op not in (*SUMS, "mul", "div") or len(node.operands) != 2:
        return False
    spread = divided_by_spread(way.tape, node)
    if spread is not None and len(data) == 2:
        return _written_norm(way, g, spread, data)
    first, second = node.operands
    for operand, other in ((first, second), (second, first)):
        if not way.takes(operand.ref):
            continue
        beside = _beside(way, other, operand)
        if node.op in SUMS:
            handed = g
        elif node.op == "mul":
            handed = g.times(beside)
        elif operand is first:
            handed = g.scaled(1 / beside.mean)
        else:
            handed = g.times(beside.plain()).scaled(1 / way.done.of(operand.ref).mean ** 2)
        samples, positions = way.copies(node.shape, operand.ref.shape)
        whole = way.done.signals[node.id]
        own = None
        if node.op in SUMS and samples == positions == 1 and (by_value := way.by_value.get(node.id)) is not None:
            own = adjoints.shared_out(by_value, g, way.done.of(operand.ref), whole)
        way.give(operand.ref, adjoints.added(handed, samples, positions), by_value=own)
    return True


def _beside(way: Way, other: Operand, operand: Operand) -> Signal:
    return way.done.other(other, operand.ref.shape).plain()


def _units(shape: Sequence[int]) -> int:
    return shape[1] if len(shape) >= 4 else shape[-1] if shape else 1


def _size(node: Node, shape: Sequence[int]) -> float:
    """Over how many values a norm takes its mean."""
    positions = prod(shape[2:]) if len(shape) > 2 else 1
    if node.op == "batch_norm":
        return float(shape[0] * positions)
    if node.op == "instance_norm":
        return float(positions)
    if node.op == "group_norm":
        groups = node.argument("num_groups", 1, 1)
        return prod(shape[1:]) / (groups if isinstance(groups, int) else 1)
    over = node.argument("normalized_shape", 1)
    sizes = [n for n in over if isinstance(n, int)] if isinstance(over, Sequence) else [shape[-1]]
    return float(prod(sizes))
